import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    ArgumentTypeError,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    DataError,
    EpochBegin,
    EpochEnd,
    Event,
    FitBegin,
    FitEnd,
    Learner,
    LossBegin,
    Phase,
    PropDict,
    Read,
    StepBegin,
    StepEnd,
    TrainingPhase,
    TreadleError,
    ValidationPhase,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.errors import CancelError, FitException
from treadle.operations import Backward, Forward, Loss, Update

BATCH = (torch.ones(2, 1), torch.ones(2, 1))

TRAINING_STEP = [StepBegin, LossBegin, BackwardBegin, BackwardEnd, StepEnd]
VALIDATION_STEP = [StepBegin, LossBegin, StepEnd]
TRAINING = [EpochBegin, *TRAINING_STEP, *TRAINING_STEP, EpochEnd]
VALIDATION = [EpochBegin, *VALIDATION_STEP, EpochEnd]


class Watch(Callback):
    """Notes every event; its name lets it run before the one that raises."""

    def __init__(self) -> None:
        self.name = "A watch"
        self.events: list[type[Event]] = []

    def on_fit_begin(self):
        self.events.append(FitBegin)

    def on_fit_end(self):
        self.events.append(FitEnd)

    def on_epoch_begin(self):
        self.events.append(EpochBegin)

    def on_epoch_end(self):
        self.events.append(EpochEnd)

    def on_step_begin(self):
        self.events.append(StepBegin)

    def on_step_end(self):
        self.events.append(StepEnd)

    def on_loss_begin(self):
        self.events.append(LossBegin)

    def on_backward_begin(self):
        self.events.append(BackwardBegin)

    def on_backward_end(self):
        self.events.append(BackwardEnd)


class Raiser(CustomCallback):
    """Raises an exception at the first of an event."""

    def __init__(self, error: BaseException, event: type[Event], phase: type[Phase] = Phase) -> None:
        self.error: BaseException | None = error
        super().__init__(self.go, event, phase)

    def go(self, learner) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


def small(*callbacks: Callback) -> Learner:
    """Two batches of training, one of validation."""
    return toy_learner(*callbacks, data=([BATCH] * 2, [BATCH]))


def test_an_uncancelled_fit_dispatches_every_event_in_its_place() -> None:
    watch = Watch()
    result = small(watch).fit(2)
    assert watch.events == [FitBegin, *(TRAINING + VALIDATION) * 2, FitEnd]
    assert (result.epochs, result.steps, result.cancelled) == (2, 4, None)


def test_without_validation_data_there_is_training_only() -> None:
    watch = Watch()
    toy_learner(watch, data=([BATCH],)).fit(1)
    assert watch.events == [FitBegin, EpochBegin, *TRAINING_STEP, EpochEnd, FitEnd]


# The table: what still fires after an exception of each kind at each event.

EVENTS = [FitBegin, EpochBegin, StepBegin, LossBegin, BackwardBegin, BackwardEnd, StepEnd, EpochEnd, FitEnd]
KINDS = [CancelStepException, CancelEpochException, CancelFittingException, ZeroDivisionError, KeyboardInterrupt]
IN_STEP = [StepBegin, LossBegin, BackwardBegin, BackwardEnd, StepEnd]


def until(event: type[Event], events: list[type[Event]]) -> list[type[Event]]:
    return events[: events.index(event) + 1]


def fires(event: type[Event], kind: type[BaseException]) -> tuple[list[type[Event]], int, int, bool]:
    """All events of a fit of one epoch; full training epochs and steps; whether the exception comes out."""
    whole = [FitBegin, *TRAINING, *VALIDATION, FitEnd]
    before = until(event, whole)
    ended = 1 if event is StepEnd else 2 if event in (EpochEnd, FitEnd) else 0
    epochs = 1 if event in (EpochEnd, FitEnd) else 0
    if kind is CancelStepException and event in IN_STEP:
        return [*before, *TRAINING_STEP, EpochEnd, *VALIDATION, FitEnd], 1, 1 + (event is StepEnd), False
    if kind is CancelEpochException and event in [EpochBegin, *IN_STEP]:
        return [*before, EpochEnd, *VALIDATION, FitEnd], 0, ended, False
    if kind is CancelEpochException and event is EpochEnd:
        return whole, 1, 2, False
    rest = [] if event is FitEnd else [FitEnd]
    return before + rest, epochs, ended, kind is not CancelFittingException


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_what_fires_after_an_exception(event, kind) -> None:
    expected, epochs, steps, escapes = fires(event, kind)
    error, watch = kind("because"), Watch()
    raiser = Raiser(error, event, TrainingPhase)
    learner = small(watch, raiser)
    result = None
    if escapes and isinstance(error, FitException):
        with pytest.raises(CancelError) as refused:
            learner.fit(1)
        assert refused.value.__cause__ is error
    elif escapes:
        with pytest.raises(kind) as raised:
            learner.fit(1)
        assert raised.value is error
    else:
        result = learner.fit(1)
    assert watch.events == expected
    assert (learner.progress.epochs, learner.progress.steps) == (epochs, steps)
    if result is not None:
        assert (result.epochs, result.steps) == (epochs, steps)
        assert result.cancelled is (error if kind is CancelFittingException else None)
    if issubclass(kind, (CancelStepException, CancelEpochException, CancelFittingException)):
        assert error.callback is raiser
    # And the learner goes on as if nothing had happened.
    watch.events.clear()
    assert learner.fit(1).steps == 2
    assert watch.events == [FitBegin, *TRAINING, *VALIDATION, FitEnd]


VALIDATION_TABLE = {
    (CancelStepException, EpochBegin): None,
    (CancelStepException, StepBegin): [EpochEnd, FitEnd],
    (CancelStepException, LossBegin): [EpochEnd, FitEnd],
    (CancelStepException, StepEnd): [EpochEnd, FitEnd],
    (CancelStepException, EpochEnd): None,
    (CancelEpochException, EpochBegin): [EpochEnd, FitEnd],
    (CancelEpochException, StepBegin): [EpochEnd, FitEnd],
    (CancelEpochException, LossBegin): [EpochEnd, FitEnd],
    (CancelEpochException, StepEnd): [EpochEnd, FitEnd],
    (CancelEpochException, EpochEnd): [FitEnd],
    (CancelFittingException, EpochBegin): [FitEnd],
    (CancelFittingException, StepBegin): [FitEnd],
    (CancelFittingException, LossBegin): [FitEnd],
    (CancelFittingException, StepEnd): [FitEnd],
    (CancelFittingException, EpochEnd): [FitEnd],
}


@pytest.mark.parametrize(
    ("kind", "event", "rest"),
    [(*case, rest) for case, rest in VALIDATION_TABLE.items() if rest is not None],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_fires_after_a_cancel_in_validation(kind, event, rest) -> None:
    watch = Watch()
    result = small(watch, Raiser(kind("because"), event, ValidationPhase)).fit(1)
    assert watch.events == [FitBegin, *TRAINING, *until(event, VALIDATION), *rest]
    assert (result.epochs, result.steps, result.cancelled is not None) == (1, 2, kind is CancelFittingException)


@pytest.mark.parametrize(
    ("kind", "event", "unit"),
    [
        (CancelStepException, FitBegin, "step"),
        (CancelStepException, EpochBegin, "step"),
        (CancelStepException, EpochEnd, "step"),
        (CancelStepException, FitEnd, "step"),
        (CancelEpochException, FitBegin, "epoch"),
        (CancelEpochException, FitEnd, "epoch"),
    ],
)
def test_a_cancel_where_there_is_nothing_to_end_says_so(kind, event, unit) -> None:
    with pytest.raises(CancelError) as raised:
        small(Raiser(kind("because"), event, TrainingPhase)).fit(1)
    assert str(raised.value) == (
        f"{kind.__name__} was raised where no {unit} was under way: because.\n"
        f"Fix: to end the fit, raise CancelFittingException."
    )
    assert raised.value.__notes__ == [f"Raised by Raiser in {PLACES[event]}"]


# Notes: the same object reaches the caller, and says where it comes from.

PLACES = {
    FitBegin: "on_fit_begin.",
    EpochBegin: "on_epoch_begin, TrainingPhase, epoch 1, step 0.",
    StepBegin: "on_step_begin, TrainingPhase, epoch 1, step 1.",
    LossBegin: "on_loss_begin, TrainingPhase, epoch 1, step 1.",
    BackwardBegin: "on_backward_begin, TrainingPhase, epoch 1, step 1.",
    BackwardEnd: "on_backward_end, TrainingPhase, epoch 1, step 1.",
    StepEnd: "on_step_end, TrainingPhase, epoch 1, step 1.",
    EpochEnd: "on_epoch_end, TrainingPhase, epoch 1, step 2.",
    FitEnd: "on_fit_end.",
}


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt, CancelFittingException])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_an_exception_has_one_note_with_the_callback_and_the_place(event, kind) -> None:
    error = kind("because")
    if kind is CancelFittingException:
        small(Raiser(error, event, TrainingPhase)).fit(1)
    else:
        with pytest.raises(kind):
            small(Raiser(error, event, TrainingPhase)).fit(1)
    assert error.__notes__ == [f"Raised by Raiser in {PLACES[event]}"]
    assert error.args == ("because",)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_phase_that_cannot_be_entered_is_not_under_way_afterwards(kind) -> None:
    class Stuck(nn.Linear):
        def eval(self):
            raise kind("no")

    learner = toy_learner()
    learner.model = Stuck(1, 1)
    with pytest.raises(kind, match="no"):
        epoch(learner, ValidationPhase())
    assert learner.progress.phase is None
    assert torch.is_grad_enabled()


def test_the_second_epoch_and_step_are_counted_in_the_note() -> None:
    class Third(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_step_end(self, phase: TrainingPhase):
            self.count += 1
            if self.count == 4:
                raise ValueError("fourth")

    with pytest.raises(ValueError, match="fourth") as raised:
        small(Third()).fit(2)
    assert raised.value.__notes__ == ["Raised by Third in on_step_end, TrainingPhase, epoch 2, step 2."]


def test_of_an_error_in_the_model_the_note_says_when() -> None:
    class Broken(nn.Linear):
        def forward(self, xs):
            raise ValueError("in the model")

    model = Broken(1, 1)
    with pytest.raises(ValueError, match="in the model") as raised:
        Learner(model, nn.functional.l1_loss, data=([BATCH],), use_default_callbacks=False).fit(1)
    assert raised.value.__notes__ == [
        "The model Broken was called with xs: a tensor of shape (2, 1), float32.",
        "Raised in TrainingPhase, epoch 1, step 1.",
    ]


def test_of_an_error_in_the_loader_the_note_says_after_which_step() -> None:
    def broken():
        yield BATCH
        yield BATCH
        raise ValueError("in the loader")

    with pytest.raises(ValueError, match="in the loader") as raised:
        toy_learner(data=(broken(),)).fit(1)
    assert raised.value.__notes__ == ["Raised in TrainingPhase, epoch 1, step 2."]


def test_a_note_of_the_users_own_does_not_stand_in_for_when() -> None:
    def broken():
        yield BATCH
        error = ValueError("in the loader")
        error.add_note("File 7 is empty.")
        raise error

    with pytest.raises(ValueError, match="in the loader") as raised:
        toy_learner(data=(broken(),)).fit(1)
    assert raised.value.__notes__ == ["File 7 is empty.", "Raised in TrainingPhase, epoch 1, step 1."]


def test_an_error_at_fit_end_does_not_hide_the_one_before_it() -> None:
    first, second = ValueError("first"), KeyError("second")
    with pytest.raises(ValueError, match="first") as raised:
        small(Raiser(first, StepEnd), Raiser(second, FitEnd)).fit(1)
    assert raised.value is first
    assert first.__notes__[-1] == "After it, a handler of on_fit_end raised KeyError('second')."


def test_a_cancel_that_is_raised_again_and_again_gathers_no_notes() -> None:
    cancel = CancelStepException("each time")

    class Always(Callback):
        def on_step_begin(self):
            raise cancel

    small(Always()).fit(3)
    assert cancel.__notes__ == ["Raised by Always in on_step_begin, TrainingPhase, epoch 1, step 1."]


# Whatever is raised wherever, a fit ends in order.


class Troublemaker(Watch):
    """Raises by a script: at the n-th event of a kind, an exception of a kind."""

    def __init__(self, script: dict[tuple[type[Event], int], type[BaseException]]) -> None:
        super().__init__()
        self.script = script

    @hookimpl(wrapper=True)
    def forward(self):
        self.maybe(Forward)
        return (yield)

    def maybe(self, what) -> None:
        self.events.append(what)
        kind = self.script.get((what, self.events.count(what)))
        if kind is not None:
            raise kind("by the script")


def troubling(event: type[Event]):
    return lambda self: self.maybe(event)


for event in EVENTS:
    setattr(Troublemaker, event.hook, troubling(event))


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from([*EVENTS, Forward]), st.integers(1, 4)),
        st.sampled_from(KINDS),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_raised_wherever_a_fit_ends_in_order(script) -> None:
    trouble = Troublemaker(script)
    learner = small(trouble)
    data, weight = learner.data, learner.model.weight
    raised: BaseException | None = None
    try:
        learner.fit(2)
    except CancelError as error:
        raised = error.__cause__
    except (*KINDS,) as error:
        raised = error

    kept = [event for event in trouble.events if event is not Forward]
    assert (kept[0], kept[-1], kept.count(FitBegin), kept.count(FitEnd)) == (FitBegin, FitEnd, 1, 1)
    epochs = [event for event in kept if event in (EpochBegin, EpochEnd)]
    assert EpochEnd not in epochs[:1]
    assert (EpochEnd, EpochEnd) not in itertools.pairwise(epochs)
    steps = [event for event in kept if event in (StepBegin, StepEnd, EpochBegin)]
    assert all(before is StepBegin for before, event in itertools.pairwise(steps) if event is StepEnd)
    fired = {(event, n) for event, n in script if trouble.events.count(event) >= n}
    assert (raised is None) or any(type(raised) is script[place] for place in fired)

    assert (learner.data is data, learner.model.weight is weight, learner.model.training) == (True, True, True)
    assert (torch.is_grad_enabled(), learner.progress.phase, learner.position.length) == (True, None, None)
    assert torch.isfinite(weight).all()
    trouble.script = {}
    trouble.events.clear()
    assert learner.fit(1).steps == 2
    assert [event for event in trouble.events if event is not Forward] == [FitBegin, *TRAINING, *VALIDATION, FitEnd]


# run_epoch and run_step.


def test_run_epoch_dispatches_begin_and_end_and_gives_the_handle() -> None:
    watch = Watch()
    learner = small(watch)
    with run_epoch(learner, TrainingPhase()) as handle:
        handle(LossBegin)
    assert watch.events == [EpochBegin, LossBegin, EpochEnd]


def test_run_step_makes_the_state_and_dispatches_begin_and_end() -> None:
    watch = Watch()
    learner = small(watch)
    with run_step(learner, TrainingPhase(), xs=1, learner=2) as (handle, state):
        assert learner.step is state
        assert type(state) is PropDict
        handle(LossBegin)
        state.ys = 3
    assert watch.events == [StepBegin, LossBegin, StepEnd]
    assert dict(learner.step) == {"xs": 1, "learner": 2, "ys": 3}


def test_a_cancel_inside_of_the_block_ends_the_block() -> None:
    watch = Watch()
    learner = small(watch)
    with run_epoch(learner, TrainingPhase()):
        with run_step(learner, TrainingPhase()):
            raise CancelStepException("skip it")
        watch.events.append("after the step")
        raise CancelEpochException("enough")
    watch.events.append("after the epoch")
    assert watch.events == [EpochBegin, StepBegin, "after the step", EpochEnd, "after the epoch"]


@pytest.mark.parametrize("cancel", [CancelEpochException, CancelFittingException, ValueError])
def test_a_step_lets_through_what_is_not_its_cancel(cancel) -> None:
    watch = Watch()
    with pytest.raises(cancel), run_step(small(watch), TrainingPhase()):
        raise cancel("out")
    assert watch.events == [StepBegin]


@pytest.mark.parametrize("cancel", [CancelFittingException, ValueError])
def test_an_epoch_lets_through_what_is_not_its_cancel(cancel) -> None:
    watch = Watch()
    with pytest.raises(cancel), run_epoch(small(watch), TrainingPhase()):
        raise cancel("out")
    assert watch.events == [EpochBegin]


def test_a_cancel_at_the_begin_comes_before_the_block_can_catch_it() -> None:
    cancel = CancelStepException("at the begin")
    with pytest.raises(CancelStepException), run_step(small(Raiser(cancel, StepBegin)), TrainingPhase()):
        pass
    cancel = CancelEpochException("at the begin")
    watch = Watch()
    with pytest.raises(CancelEpochException), run_epoch(small(watch, Raiser(cancel, EpochBegin)), TrainingPhase()):
        pass
    assert watch.events == [EpochBegin, EpochEnd]


def test_treadle_step_and_epoch_catch_it_too() -> None:
    learner = small(Raiser(CancelStepException("at the begin"), StepBegin))
    assert dict(step(learner, TrainingPhase(), BATCH)) == {"xs": BATCH[0], "ys": BATCH[1]}
    assert epoch(small(Raiser(CancelEpochException("at the begin"), EpochBegin)), TrainingPhase()) is None


def test_a_step_on_its_own_counts_as_a_step() -> None:
    learner = small()
    state = step(learner, TrainingPhase(), BATCH)
    assert (learner.step is state, learner.progress.steps, learner.progress.epochs) == (True, 1, 0)
    assert sorted(state) == ["accumulating", "grads", "loss", "xs", "yhats", "ys"]


def test_the_handle_takes_the_class_of_an_event_or_an_operation() -> None:
    with (
        pytest.raises(TypeError, match=r"A handle takes the class of an event or an operation, got 'on_step_end'"),
        run_step(small(), TrainingPhase()) as (handle, _),
    ):
        handle("on_step_end")


@pytest.mark.parametrize("use", [run_epoch, run_step, lambda learner, phase: step(learner, phase, BATCH), epoch])
@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (TrainingPhase, r"^The phase must be .*, got the class TrainingPhase\.\nFix: make .*:\n    TrainingPhase\(\)$"),
        ("training", r"^The phase must be an instance of Phase, got 'training'\.\nFix: .*:\n    TrainingPhase\(\)$"),
        (None, r"^The phase must be an instance of Phase, got None\.\nFix: .*:\n    TrainingPhase\(\)$"),
    ],
)
def test_a_phase_is_an_instance(use, phase, message) -> None:
    learner = small()
    with pytest.raises(ArgumentTypeError, match=message), use(learner, phase):
        pass
    assert learner.fit(1).steps == 2


# epoch and its data.


def test_an_epoch_runs_over_the_phases_data_or_over_those_passed() -> None:
    learner = small()
    epoch(learner, TrainingPhase())
    assert learner.progress.steps == 2
    epoch(learner, TrainingPhase(), [BATCH] * 5)
    assert learner.progress.steps == 7


def test_what_is_passed_stands_in_the_learners_data_while_the_epoch_runs() -> None:
    seen = []
    learner = small(
        CustomCallback(lambda learner: seen.append(learner.data.training), EpochBegin, Phase, {"data": Read})
    )
    before, passed = learner.data, [BATCH]
    epoch(learner, TrainingPhase(), passed)
    assert seen == [passed]
    assert learner.data is before


def test_after_an_error_the_learners_own_data_stand_there_again() -> None:
    learner = small(Raiser(ValueError("in it"), StepEnd))
    before = learner.data
    with pytest.raises(ValueError, match="in it"):
        epoch(learner, TrainingPhase(), [BATCH])
    assert learner.data is before


class Bare(Phase):
    """A phase that has no data of its own."""

    def step(self, learner, batch):
        with run_step(learner, self, batch=batch):
            pass


@pytest.mark.parametrize(
    ("phase", "data", "message"),
    [
        (
            ValidationPhase(),
            None,
            r"ValidationPhase\(\) runs over learner\.data\.validation, and the learner has no such",
        ),
        (
            Bare(),
            None,
            r"^Bare\(\) has no data .*\nFix: .*:\n    epoch\(learner, Bare\(\), data\)\n    data_name = \"training\"",
        ),
        (
            TrainingPhase(),
            [],
            r"TrainingPhase\(\) got no batch from list\.\nFix: pass a loader with at least",
        ),
        (
            TrainingPhase(),
            3,
            r"TrainingPhase\(\) needs an iterable of batches, got 3\.\nFix: pass a DataLoader",
        ),
        (TrainingPhase(), iter([]), r"from list_iterator\.\nFix: .* it is an iterator and may be used up"),
        (Bare(), (i for i in ()), r"Bare\(\) got no batch from generator\.\nFix: .* it is an iterator"),
    ],
)
def test_an_epoch_without_a_batch_is_refused(phase, data, message) -> None:
    learner = toy_learner(data=([BATCH],))
    with pytest.raises(DataError, match=message):
        epoch(learner, phase, data)
    assert learner.fit(1).steps == 1


def test_an_iterator_that_is_used_up_says_so_in_the_second_epoch() -> None:
    learner = toy_learner(data=(iter([BATCH, BATCH]),))
    with pytest.raises(
        DataError, match=r"TrainingPhase\(\) got no batch from list_iterator\.\nFix: pass a list or a DataLoader"
    ):
        learner.fit(2)
    assert learner.progress.steps == 2


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from zip(torch.ones(4, 1), torch.ones(4, 1), strict=True)


class NoLength:
    def __len__(self):
        raise NotImplementedError("unknown")

    def __iter__(self):
        return iter([BATCH, BATCH])


@pytest.mark.parametrize("data", [torch.utils.data.DataLoader(Stream(), batch_size=2), NoLength()])
def test_data_of_unknown_length_are_data(data) -> None:
    assert toy_learner(data=(data,)).fit(1).steps == 2


def test_data_can_be_what_only_has_items() -> None:
    class Items:
        def __getitem__(self, index: int):
            if index == 3:
                raise IndexError
            return BATCH

    assert toy_learner(data=(Items(),)).fit(1).steps == 3


def test_a_phase_may_be_passed_data_that_it_has_no_name_for() -> None:
    learner = small()
    before = learner.data
    epoch(learner, Bare(), ["a", "b"])
    assert (dict(learner.step), learner.data is before) == ({"batch": "b"}, True)


# Gradients.


class Override(Callback):
    """Overrides `accumulate` by a script, and afterwards not."""

    def __init__(self, *script: bool) -> None:
        self.script = list(script)

    def accumulate(self, phase: AbstractTrainingPhase):
        return self.script.pop(0) if self.script else None


class Grads(Callback):
    """Notes the gradient of the one weight at an event."""

    state_access = {"params": Read}

    def __init__(self) -> None:
        self.at: list[float | None] = []

    def on_backward_end(self, learner):
        gradient = learner.params["weight"].grad
        self.at.append(None if gradient is None else gradient.item())


def one_weight(*callbacks: Callback, batches: int = 4) -> Learner:
    """Each step's gradient is 1."""
    data = [(torch.ones(1, 1), torch.full((1, 1), -9.0))] * batches
    return toy_learner(*callbacks, data=(data,), optimizer=None)


def test_gradients_are_cleared_at_each_step() -> None:
    grads = Grads()
    one_weight(grads).fit(1)
    assert grads.at == [1.0] * 4


def test_gradients_can_be_read_until_the_next_step_begins() -> None:
    seen = []

    class Late(Callback):
        state_access = {"step.grads": Read, "params": Read}

        def on_step_end(self, learner):
            seen.append(learner.step.grads["weight"].item())

        def on_epoch_end(self, learner):
            seen.append(learner.params["weight"].grad.item())

    learner = one_weight(Late(), batches=1)
    learner.fit(1)
    assert seen == [1.0, 1.0]
    assert learner.step.grads["weight"].item() == 1.0
    cleared = CustomCallback(
        lambda learner: seen.append(learner.params["weight"].grad), StepBegin, Phase, {"params": Read}
    )
    learner.set_callbacks([cleared])
    learner.fit(1)
    assert seen == [1.0, 1.0, None]


def test_a_step_that_accumulates_keeps_the_gradients_for_the_next_one() -> None:
    grads = Grads()
    one_weight(grads, Override(True, True, False, False)).fit(1)
    assert grads.at == [1.0, 2.0, 3.0, 1.0]


def test_what_was_kept_goes_neither_over_the_end_of_an_epoch_nor_into_the_next_fit() -> None:
    grads = Grads()
    learner = one_weight(grads, Override(*[True] * 3), batches=2)
    learner.fit(2)
    assert grads.at == [1.0, 2.0, 1.0, 2.0]
    learner.get_callback(Override).script = [True]
    step(learner, TrainingPhase(), learner.data.training[0])
    learner.fit(1)
    assert grads.at[4:] == [1.0, 1.0, 1.0]


def test_a_cancelled_step_leaves_nothing_in_the_next_ones_gradients() -> None:
    grads = Grads()
    one_weight(grads, Raiser(CancelStepException("bad batch"), BackwardEnd)).fit(1)
    assert grads.at == [1.0] * 4


def test_a_cancelled_step_ends_what_was_being_added_up() -> None:
    grads = Grads()

    class Second(Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_backward_end(self):
            self.count += 1
            if self.count == 2:
                raise CancelStepException("bad batch")

    one_weight(grads, Second(), Override(*[True] * 4)).fit(1)
    assert grads.at == [1.0, 2.0, 1.0, 2.0]


def test_an_error_leaves_nothing_in_the_gradients_of_the_next_fit() -> None:
    grads = Grads()
    learner = one_weight(grads, Raiser(ValueError("bad batch"), BackwardEnd))
    with pytest.raises(ValueError, match="bad batch"):
        learner.fit(1)
    learner.fit(1)
    assert grads.at == [1.0] * 5


def test_gradients_of_parameters_that_no_optimizer_holds_are_cleared_as_well() -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    data = [(torch.ones(1, 1), torch.full((1, 1), -9.0))] * 3
    learner = Learner(model, nn.functional.l1_loss, data=(data,), optimizer=optimizer, use_default_callbacks=False)
    learner.fit(1)
    assert model.bias.grad.item() == 1.0


class Accumulate(Callback):
    """Updates at every n-th step, by the mean of the gradients."""

    def __init__(self, n: int) -> None:
        self.n, self.count = n, 0

    def accumulate(self):
        self.count += 1
        return self.count % self.n != 0


@pytest.mark.parametrize("n", [1, 2, 4])
def test_n_micro_batches_equal_one_big_batch(n) -> None:
    xs = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(-1, 1)
    ys = 3 * xs + 0.5

    def train(size: int, accumulated: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(1, 1).double()
        learner = Learner(
            model,
            lambda yhats, ys: nn.functional.mse_loss(yhats, ys) / accumulated,
            data=(list(zip(xs.split(size), ys.split(size), strict=True)),),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            callbacks=[Accumulate(accumulated)],
            use_default_callbacks=False,
        )
        learner.fit(3)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    torch.testing.assert_close(train(8 // n, n), train(8, 1), rtol=0, atol=1e-12)


class Manual(AbstractTrainingPhase):
    """Does what `TrainingPhase` does, by operations, and says nothing about gradients."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = handle(Forward)
            state.loss = handle(Loss)
            handle(Backward)
            handle(BackwardEnd)
            handle(Update)


class ManualOptimizer(Manual):
    """Calls the optimizer by itself."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            learner.lossfn(learner.model(state.xs), state.ys).backward()
            handle(BackwardEnd)
            learner.optimizer.step()


@pytest.mark.parametrize("phase", [Manual(), ManualOptimizer()], ids=repr)
def test_in_a_custom_phase_gradients_are_cleared_at_each_step_too(phase) -> None:
    grads = Grads()
    epoch(one_weight(grads), phase)
    assert grads.at == [1.0] * 4


def test_in_a_custom_phase_an_update_that_changed_nothing_uses_the_gradients_up_too() -> None:
    class Skip(Callback):
        def update(self):
            return False

    grads = Grads()
    learner = one_weight(grads, Skip())
    epoch(learner, Manual())
    assert (grads.at, learner.progress.updates) == ([1.0] * 4, 0)


# Bad input: each is a typed error that names the thing and the fix.

BAD = {
    "epoch(None, TrainingPhase())": (
        lambda: epoch(None, TrainingPhase()),
        "The learner must be an instance of Learner, got None",
    ),
    "epoch(3, TrainingPhase())": (lambda: epoch(3, TrainingPhase()), "got 3"),
    "epoch(Learner, TrainingPhase())": (lambda: epoch(Learner, TrainingPhase()), "got the class Learner"),
    "epoch(learner, None)": (lambda: epoch(toy_learner(), None), "The phase must be an instance of Phase, got None"),
    "learner.loop.epoch(None)": (
        lambda: toy_learner().loop.epoch(None),
        "The phase must be an instance of Phase, got None",
    ),
    "epoch(learner, 3)": (lambda: epoch(toy_learner(), 3), "The phase must be"),
    "learner.loop.epoch(3)": (lambda: toy_learner().loop.epoch(3), "The phase must be"),
    "epoch(learner, TrainingPhase)": (lambda: epoch(toy_learner(), TrainingPhase), "got the class TrainingPhase"),
    "learner.loop.epoch(TrainingPhase)": (
        lambda: toy_learner().loop.epoch(TrainingPhase),
        "got the class TrainingPhase",
    ),
    "epoch(learner, torch.ones(3))": (lambda: epoch(toy_learner(), torch.ones(3)), "The phase must be"),
    "learner.loop.epoch(torch.ones(3))": (lambda: toy_learner().loop.epoch(torch.ones(3)), "The phase must be"),
    "epoch(learner, 'training')": (lambda: epoch(toy_learner(), "training"), "got 'training'"),
    "learner.loop.epoch('training')": (lambda: toy_learner().loop.epoch("training"), "got 'training'"),
    "step(None, TrainingPhase())": (
        lambda: step(None, TrainingPhase(), BATCH),
        "The learner must be an instance of Learner, got None",
    ),
    "step(3, TrainingPhase())": (lambda: step(3, TrainingPhase(), BATCH), "got 3"),
    "step(Learner, TrainingPhase())": (lambda: step(Learner, TrainingPhase(), BATCH), "got the class Learner"),
    "step(learner, None)": (
        lambda: step(toy_learner(), None, BATCH),
        "The phase must be an instance of Phase, got None",
    ),
    "learner.loop.step(None)": (
        lambda: toy_learner().loop.step(None, BATCH),
        "The phase must be an instance of Phase, got None",
    ),
    "step(learner, 3)": (lambda: step(toy_learner(), 3, BATCH), "The phase must be"),
    "learner.loop.step(3)": (lambda: toy_learner().loop.step(3, BATCH), "The phase must be"),
    "step(learner, TrainingPhase)": (lambda: step(toy_learner(), TrainingPhase, BATCH), "got the class TrainingPhase"),
    "learner.loop.step(TrainingPhase)": (
        lambda: toy_learner().loop.step(TrainingPhase, BATCH),
        "got the class TrainingPhase",
    ),
    "step(learner, torch.ones(3))": (lambda: step(toy_learner(), torch.ones(3), BATCH), "The phase must be"),
    "learner.loop.step(torch.ones(3))": (lambda: toy_learner().loop.step(torch.ones(3), BATCH), "The phase must be"),
    "step(learner, 'training')": (lambda: step(toy_learner(), "training", BATCH), "got 'training'"),
    "learner.loop.step('training')": (lambda: toy_learner().loop.step("training", BATCH), "got 'training'"),
    "run_epoch(None, TrainingPhase())": (
        lambda: run_epoch(None, TrainingPhase()).__enter__(),
        "The learner must be an instance of Learner, got None",
    ),
    "run_epoch(3, TrainingPhase())": (lambda: run_epoch(3, TrainingPhase()).__enter__(), "got 3"),
    "run_epoch(learner, None)": (
        lambda: run_epoch(toy_learner(), None).__enter__(),
        "The phase must be an instance of Phase, got None",
    ),
    "run_epoch(learner, 3)": (lambda: run_epoch(toy_learner(), 3).__enter__(), "The phase must be"),
    "run_epoch(learner, TrainingPhase)": (
        lambda: run_epoch(toy_learner(), TrainingPhase).__enter__(),
        "got the class TrainingPhase",
    ),
    "run_step(None, TrainingPhase())": (
        lambda: run_step(None, TrainingPhase()).__enter__(),
        "The learner must be an instance of Learner, got None",
    ),
    "run_step(3, TrainingPhase())": (lambda: run_step(3, TrainingPhase()).__enter__(), "got 3"),
    "run_step(learner, None)": (
        lambda: run_step(toy_learner(), None).__enter__(),
        "The phase must be an instance of Phase, got None",
    ),
    "run_step(learner, 3)": (lambda: run_step(toy_learner(), 3).__enter__(), "The phase must be"),
    "run_step(learner, TrainingPhase)": (
        lambda: run_step(toy_learner(), TrainingPhase).__enter__(),
        "got the class TrainingPhase",
    ),
    "epoch(learner, TrainingPhase(), 3)": (
        lambda: epoch(toy_learner(), TrainingPhase(), 3),
        "needs an iterable of batches, got 3",
    ),
    "epoch(learner, TrainingPhase(), [])": (
        lambda: epoch(toy_learner(), TrainingPhase(), []),
        "got no batch from list",
    ),
    "epoch(learner, TrainingPhase(), TrainingPhase)": (
        lambda: epoch(toy_learner(), TrainingPhase(), TrainingPhase),
        "needs an iterable of batches",
    ),
    "learner.loop.perform(None)": (
        lambda: toy_learner().loop.perform(None),
        "operation must be Operation or a subclass",
    ),
    "learner.loop.perform(StepEnd)": (lambda: toy_learner().loop.perform(StepEnd), "operation must be Operation"),
    "learner.loop.perform(Forward())": (lambda: toy_learner().loop.perform(Forward()), "operation must be Operation"),
    "learner.loop.perform(Forward)": (lambda: toy_learner().loop.perform(Forward), "no phase is under way"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)
