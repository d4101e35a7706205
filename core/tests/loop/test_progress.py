import copy

import pytest
from treadle import (
    Callback,
    CancelEpochException,
    CancelStepException,
    ProtectedException,
    TrainingPhase,
    ValidationPhase,
    epoch,
    hookimpl,
    toy_learner,
)
from treadle.loop.progress import Progress
from treadle.operations import Operation
from treadle.ordering.handlers import known_hooks


def small(*callbacks):
    """Two batches of training, one of validation."""
    data = toy_learner().data
    return toy_learner(*callbacks, data=(data.training[:2], data.validation[:1]))


def counts(progress):
    return progress.epoch, progress.epochs, progress.steps, progress.updates, progress.accumulated


def test_nothing_is_counted_before_the_first_step():
    progress = toy_learner().progress
    assert (progress.phase, progress.step, *counts(progress)) == (None, 0, 0, 0, 0, 0, 0)


def test_training_epochs_and_steps_are_counted_over_all_fits():
    learner = small()
    learner.fit(2)
    learner.fit(1)
    assert (learner.progress.phase, learner.progress.step, *counts(learner.progress)) == (None, 0, 3, 3, 6, 6, 0)


def test_a_callback_can_read_the_progress_without_a_declaration():
    seen = []

    class Look(Callback):
        def on_step_begin(self, learner):
            progress = learner.progress
            seen.append((type(progress.phase).__name__, progress.epoch, progress.step, progress.steps))

    small(Look()).fit(1)
    assert seen == [("TrainingPhase", 1, 1, 0), ("TrainingPhase", 1, 2, 1), ("ValidationPhase", 1, 1, 2)]


def test_what_ends_is_counted_before_its_end_event():
    seen = []

    class Look(Callback):
        def on_epoch_begin(self, learner):
            seen.append(("EpochBegin", *counts(learner.progress)))

        def on_backward_end(self, learner):
            seen.append(("BackwardEnd", *counts(learner.progress)))

        def on_step_end(self, learner):
            seen.append(("StepEnd", *counts(learner.progress)))

        def on_epoch_end(self, learner):
            seen.append(("EpochEnd", *counts(learner.progress)))

    small(Look()).fit(1)
    assert seen == [
        ("EpochBegin", 1, 0, 0, 0, 0),
        ("BackwardEnd", 1, 0, 0, 0, 1),
        ("StepEnd", 1, 0, 1, 1, 0),
        ("BackwardEnd", 1, 0, 1, 1, 1),
        ("StepEnd", 1, 0, 2, 2, 0),
        ("EpochEnd", 1, 1, 2, 2, 0),
        ("EpochBegin", 1, 1, 2, 2, 0),
        ("StepEnd", 1, 1, 2, 2, 0),
        ("EpochEnd", 1, 1, 2, 2, 0),
    ]


@pytest.mark.parametrize(
    ("event", "cancel", "done"),
    [
        ("on_step_begin", CancelStepException, (1, 1, 0)),
        ("on_step_end", CancelStepException, (1, 1, 2)),
        ("on_epoch_begin", CancelEpochException, (1, 0, 0)),
        ("on_epoch_end", CancelEpochException, (1, 1, 2)),
    ],
)
def test_a_step_or_epoch_that_was_cancelled_counts_only_if_its_own_end_event_cancelled_it(event, cancel, done):
    def handler(self, phase: TrainingPhase):
        raise cancel("Enough.")

    learner = small(type("Cancel", (Callback,), {event: handler})())
    learner.fit(1)
    assert (learner.progress.epoch, learner.progress.epochs, learner.progress.steps) == done


class Override(Callback):
    """Overrides `accumulate` by a script."""

    def __init__(self, *script):
        self.script = list(script)

    def accumulate(self, phase: TrainingPhase):
        return self.script.pop(0)


def test_the_batches_of_an_update_are_counted_and_the_update_once_whoever_does_it():
    seen = []

    class Look(Callback):
        @hookimpl(wrapper=True)
        def update(self, phase: TrainingPhase):
            return (yield)

        def on_step_end(self, learner):
            seen.append((learner.progress.updates, learner.progress.accumulated))

    epoch(toy_learner(Look(), Override(True, True, False, False), nbatches=4), TrainingPhase())
    assert seen == [(0, 1), (0, 2), (1, 0), (2, 0)]


def test_a_cancelled_step_drops_the_batches_of_its_update():
    class Cancel(Callback):
        def on_backward_end(self, learner):
            if learner.progress.accumulated == 2:
                raise CancelStepException("Enough.")

    learner = toy_learner(Cancel(), Override(True, True), nbatches=2)
    epoch(learner, TrainingPhase())
    assert (learner.progress.accumulated, learner.progress.updates) == (0, 0)


def test_progress_shows_the_same_epoch_in_the_validation_that_follows():
    seen = []

    class Look(Callback):
        def on_epoch_end(self, learner, phase: ValidationPhase):
            seen.append(learner.progress.epoch)

    small(Look()).fit(2)
    assert seen == [1, 2]


@pytest.mark.parametrize("write", [setattr, lambda progress, name, value: delattr(progress, name)])
@pytest.mark.parametrize("name", ["phase", "epoch", "steps"])
def test_a_callback_cannot_write_the_progress(write, name):
    class Writer(Callback):
        def on_step_end(self, learner):
            write(learner.progress, name, 3)

    with pytest.raises(ProtectedException, match=r"Writer writes `progress`, which only the loop does.\nFix: keep"):
        small(Writer()).fit(1)


def test_what_a_callback_sees_shows_later_counts_and_can_be_copied():
    class Keep(Callback):
        def on_init(self, learner):
            self.progress = learner.progress

    keep = Keep()
    small(keep).fit(1)
    assert keep.progress.steps == copy.deepcopy(keep).progress.steps == 2
    assert repr(keep.progress) == ("Progress(phase=None, epoch=1, step=0, epochs=1, steps=2, updates=2, accumulated=0)")
    with pytest.raises(AttributeError, match="minutes"):
        _ = keep.progress.minutes


def test_progress_has_no_other_attributes():
    with pytest.raises(AttributeError):
        Progress().rounds = 1


def test_every_handler_reads_it_without_a_declaration_and_an_evaluation_leaves_it_as_it_was():
    seen = {}

    def handler(name):
        def note(self, learner, phase):
            seen.setdefault(name, counts(learner.progress))

        def wrap(self, learner, phase):
            seen.setdefault(name, counts(learner.progress))
            return (yield)

        def note_alone(self, learner):
            seen.setdefault(name, counts(learner.progress))

        hook = known_hooks()[name]
        if issubclass(hook, Operation):
            return hookimpl(wrapper=True)(wrap)
        return note if hook.phased else note_alone

    core = [name for name, hook in known_hooks().items() if hook.__module__ in ("treadle.events", "treadle.operations")]
    learner = small(type("Everywhere", (Callback,), {name: handler(name) for name in core})())
    learner.fit(1)
    assert set(seen) == set(core)
    before = counts(learner.progress), learner.progress.phase, learner.progress.step
    learner.evaluate()
    learner.predict(learner.data.training)
    assert (counts(learner.progress), learner.progress.phase, learner.progress.step) == before
    assert learner.progress.phase is None
