"""How long a fit is: by epochs, by steps, and where it validates."""

import itertools

import pytest
import torch
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    FitResult,
    Phase,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    step,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError, DataError
from treadle.loop.data.batches import batches


class Events(Callback):
    """Notes the begins and ends of epochs with the number of training steps that are done."""

    def __init__(self):
        self.seen = []

    def on_epoch_begin(self, learner, phase):
        self.seen.append(f"{'T' if phase.training else 'V'}({learner.progress.steps}")

    def on_epoch_end(self, learner, phase):
        self.seen.append(f"{'T' if phase.training else 'V'}){learner.progress.steps}")


class Endless:
    """The batches of the toy problem, over and over, without a length."""

    def __init__(self, nbatches=4):
        self.batches = toy_learner(nbatches=nbatches).data.training

    def __iter__(self):
        return itertools.cycle(self.batches)


def run(*args, nbatches=4, callbacks=(), **kwargs):
    events = Events()
    result = toy_learner(events, *callbacks, nbatches=nbatches).fit(*args, **kwargs)
    return result, " ".join(events.seen)


@pytest.mark.parametrize(
    ("kwargs", "epochs", "seen"),
    [
        ({"steps": 10}, 2, "T(0 T)4 T(4 T)8 T(8 T)10 V(10 V)10"),
        ({"steps": 8}, 2, "T(0 T)4 T(4 T)8 V(8 V)8"),
        ({"steps": 3}, 0, "T(0 T)3 V(3 V)3"),
        ({"steps": 0}, 0, ""),
        ({"steps": 10, "validate_every": 3}, 2, "T(0 V(3 V)3 T)4 T(4 V(6 V)6 T)8 T(8 V(9 V)9 T)10"),
        ({"steps": 8, "validate_every": 4}, 2, "T(0 V(4 V)4 T)4 T(4 T)8 V(8 V)8"),
        ({"steps": 3, "validate_every": 4}, 0, "T(0 T)3"),
        ({"n": 2, "validate_every": 3}, 2, "T(0 V(3 V)3 T)4 T(4 V(6 V)6 T)8"),
        ({"n": 2, "validate_every": 2}, 2, "T(0 V(2 V)2 V(4 V)4 T)4 T(4 V(6 V)6 V(8 V)8 T)8"),
        ({"n": 2, "validate_every": 6}, 2, "T(0 T)4 T(4 V(6 V)6 T)8"),
        ({"n": 0, "validate_every": 1}, 0, ""),
    ],
)
def test_a_fit_by_steps_validates_at_each_multiple_or_once_at_the_end(kwargs, epochs, seen):
    result, events = run(**kwargs)
    assert (result, events) == (FitResult(epochs=epochs, steps=kwargs.get("steps", 4 * kwargs.get("n", 0))), seen)


def test_without_validation_data_there_is_training_alone():
    assert run(steps=5, data=(Endless(),)) == (FitResult(epochs=0, steps=5), "T(0 T)5")


def test_endless_data_are_one_epoch_that_is_not_counted():
    data = (Endless(), Endless().batches)
    result, events = run(steps=10, validate_every=4, data=data)
    assert (result, events) == (FitResult(epochs=0, steps=10), "T(0 V(4 V)4 V(8 V)8 T)10")


def test_no_batch_is_taken_beyond_the_last_step():
    taken = []

    class Counted(Endless):
        def __iter__(self):
            for batch in super().__iter__():
                taken.append(1)
                yield batch

    toy_learner().fit(steps=6, data=(Counted(),))
    assert len(taken) == 6


@pytest.mark.parametrize("steps", [5, 8, 11])
def test_the_weights_are_those_of_a_fit_by_epochs_with_and_without_validation(steps):
    weights = []
    for kwargs in ({}, {"validate_every": 2}):
        learner = toy_learner(nbatches=4)
        learner.fit(steps=steps, **kwargs)
        weights.append(learner.model.weight.item())
    by_hand = toy_learner(nbatches=4)
    for batch in itertools.islice(itertools.cycle(by_hand.data.training), steps):
        step(by_hand, TrainingPhase(), batch)
    assert weights == [by_hand.model.weight.item()] * 2


def test_a_cancelled_step_does_not_count():
    class Skip(Callback):
        def on_step_begin(self, learner, phase: TrainingPhase):
            if learner.progress.step == 2:
                raise CancelStepException("Not this one.")

    result, events = run(steps=6, callbacks=[Skip()])
    assert (result, events) == (FitResult(epochs=2, steps=6), "T(0 T)3 T(3 T)6 V(6 V)6")


def test_a_cancelled_epoch_is_gone_on_from_with_the_next():
    class Short(Callback):
        def on_step_end(self, learner, phase: TrainingPhase):
            if learner.progress.step == 3:
                raise CancelEpochException("Enough.")

    result, events = run(steps=7, validate_every=3, callbacks=[Short()])
    assert (result.epochs, result.steps) == (0, 7)
    assert events == "T(0 T)3 T(3 V(3 V)3 T)6 T(6 V(6 V)6 T)7"


@pytest.mark.parametrize("cancel", [CancelStepException, CancelEpochException])
def test_a_fit_whose_steps_are_all_cancelled_is_refused_instead_of_going_on_for_ever(cancel):
    class Never(Callback):
        def on_step_begin(self, phase: TrainingPhase):
            raise cancel("No.")

    with pytest.raises(CallbackError, match=r"ended without a training step, and fit\(steps=5\) goes on until"):
        run(steps=5, callbacks=[Never()])


def test_the_steps_are_those_of_the_fit_and_not_of_the_learner():
    learner = toy_learner(nbatches=4)
    learner.fit(steps=3)
    assert learner.fit(steps=3) == FitResult(epochs=0, steps=3)
    assert (learner.progress.steps, learner.progress.epochs, learner.progress.epoch) == (6, 0, 2)


def test_validation_inside_of_an_epoch_leaves_it_as_it_was():
    class Look(Callback):
        state_access = {"model": Read}
        seen = []

        def on_epoch_end(self, learner, phase: ValidationPhase):
            self.seen.append((learner.progress.phase, learner.progress.epoch))

        def on_step_begin(self, learner, phase: TrainingPhase):
            self.seen.append((learner.progress.step, learner.model.training, torch.is_grad_enabled()))

    look = Look()
    toy_learner(look, nbatches=3).fit(steps=3, validate_every=2)
    assert look.seen == [(1, True, True), (2, True, True), (ValidationPhase(), 1), (3, True, True)]


def test_gradients_of_an_unfinished_update_outlast_validation_and_the_last_one_is_completed_before_the_end():
    class SumOf(Callback):
        def accumulate(self, learner, phase: TrainingPhase):
            return learner.progress.accumulated < 2

    weights = []
    for kwargs in ({}, {"validate_every": 2}):
        learner = toy_learner(SumOf(), nbatches=16)
        learner.fit(steps=8, **kwargs)
        weights.append((learner.model.weight.item(), learner.progress.updates))
    assert weights[0] == weights[1]
    assert weights[0][1] == 3


def test_a_cancel_in_validation_ends_what_it_says():
    class Cancel(Callback):
        def __init__(self, cancel):
            self.cancel = cancel

        def on_step_end(self, phase: ValidationPhase):
            raise self.cancel("Enough.")

    result, events = run(steps=8, validate_every=3, callbacks=[Cancel(CancelEpochException)])
    assert (result.steps, events) == (8, "T(0 V(3 V)3 T)4 T(4 V(6 V)6 T)8")
    result, events = run(steps=8, validate_every=3, callbacks=[Cancel(CancelFittingException)])
    assert (result.epochs, result.steps, str(result.cancelled), events) == (0, 3, "Enough.", "T(0 V(3")


def test_training_phases_run_in_turn_and_all_others_where_validation_is_due():
    class First(TrainingPhase):
        pass

    class Second(ValidationPhase):
        pass

    seen = []

    class Note(Callback):
        def on_epoch_begin(self, learner, phase: Phase):
            seen.append(f"{type(phase).__name__} {learner.progress.steps}")

    phases = [First(), TrainingPhase(), ValidationPhase(), Second()]
    toy_learner(Note(), nbatches=2).fit(steps=5, validate_every=3, phases=phases)
    assert seen == ["First 0", "TrainingPhase 2", "ValidationPhase 3", "Second 3", "First 4"]
    seen.clear()
    toy_learner(Note(), nbatches=2).fit(steps=3, phases=phases)
    assert seen == ["First 0", "TrainingPhase 2", "ValidationPhase 3", "Second 3"]


def test_a_callback_that_trains_inside_is_counted_and_past_several_multiples_there_is_one_validation():
    class Inner(Callback):
        state_access = {"loop": Write, "data": Read}

        def on_step_end(self, learner, phase: TrainingPhase):
            if learner.progress.step == 2:
                for _ in range(4):
                    learner.loop.step(Other(), learner.data.training[0])

    class Other(TrainingPhase):
        pass

    result, events = run(steps=9, validate_every=2, nbatches=16, callbacks=[Inner()])
    assert (result.steps, events) == (9, "T(0 V(6 V)6 V(8 V)8 T)9")


def test_a_phase_with_an_epoch_of_its_own_ends_in_time_if_it_goes_over_its_batches():
    class Backwards(TrainingPhase):
        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in batches(learner, self, data[::-1]):
                    step(learner, self, batch)

    phases = [Backwards(), ValidationPhase()]
    result, events = run(steps=5, validate_every=2, phases=phases)
    assert (result, events) == (FitResult(epochs=1, steps=5), "T(0 V(2 V)2 V(4 V)4 T)4 T(4 T)5")


def test_a_phase_that_goes_over_its_data_by_itself_is_refused():
    class ByItself(TrainingPhase):
        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in data:
                    step(learner, self, batch)

    with pytest.raises(CallbackError, match=r"cannot end, nor validate, in the middle of an epoch of ByItself\(\)"):
        run(steps=5, phases=[ByItself()])


def test_a_fit_inside_of_a_fit_by_steps_has_a_length_of_its_own():
    results = []

    class Inner(Callback):
        def on_epoch_end(self, phase: ValidationPhase):
            if not results:
                results.append(None)
                results.append(learner.fit(1, phases=[TrainingPhase()]))
                results.append(learner.fit(steps=3, validate_every=2))

    events = Events()
    learner = toy_learner(Inner(), events, nbatches=4)
    assert learner.fit(steps=16, validate_every=3) == FitResult(epochs=3, steps=16)
    assert results == [None, FitResult(epochs=1, steps=4), FitResult(epochs=0, steps=3)]
    inner = "T(3 T)7 T(7 V(9 V)9 T)10"
    assert " ".join(events.seen) == f"T(0 V(3 V)3 {inner} V(11 V)11 T)11 T(11 V(12 V)12 V(15 V)15 T)15 T(15 T)16"


def test_an_epoch_that_a_handler_runs_is_none_of_the_fit():
    class Inner(Callback):
        state_access = {"loop": Write}

        def on_fit_begin(self, learner):
            learner.loop.epoch(ValidationPhase())

    result, events = run(steps=4, validate_every=3, callbacks=[Inner()])
    assert (result.steps, events) == (4, "V(0 V)0 T(0 V(3 V)3 T)4")


def test_an_epoch_outside_of_a_fit_runs_over_all_its_data():
    learner = toy_learner(nbatches=4)
    learner.fit(steps=2)
    epoch(learner, TrainingPhase())
    assert learner.progress.steps == 6


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ArgumentTypeError, "fit needs a length: a number of epochs, or of steps"),
        ({"n": 2, "steps": 3}, ArgumentTypeError, "fit got two lengths: 2 epochs and steps=3"),
        ({"validate_every": 3}, ArgumentTypeError, "fit needs a length"),
        ({"steps": -1}, ArgumentValueError, "steps must be a whole number of at least 0, got -1"),
        ({"steps": True}, ArgumentTypeError, "steps must be a whole number of at least 0, got True"),
        ({"steps": 2.5}, ArgumentTypeError, "steps must be a whole number of at least 0, got 2.5"),
        ({"steps": 5, "validate_every": 0}, ArgumentValueError, "validate_every must be a whole number of at least 1"),
        ({"n": 2, "validate_every": "a"}, ArgumentTypeError, "validate_every must be a whole number of at least 1"),
        ({"steps": 5, "phases": [ValidationPhase()]}, ArgumentValueError, "there is no training phase in"),
        (
            {"steps": 5, "validate_every": 2, "phases": [TrainingPhase()]},
            DataError,
            "fit got validate_every, and has nothing to validate with",
        ),
    ],
)
def test_a_length_that_cannot_be_is_refused(kwargs, error, message):
    with pytest.raises(error, match=message):
        toy_learner().fit(**kwargs)


def test_a_phase_that_is_neither_training_nor_validation_is_refused():
    class Neither(Phase):
        data_name = "training"

    with pytest.raises(ArgumentValueError, match=r"fit\(steps=...\) runs .* and Neither.training is None"):
        toy_learner().fit(steps=3, phases=[TrainingPhase(), Neither()])


def test_an_iterator_that_is_used_up_is_refused():
    with pytest.raises(DataError, match="it is an iterator and may be used up"):
        toy_learner().fit(steps=6, data=(iter(toy_learner(nbatches=4).data.training),))
