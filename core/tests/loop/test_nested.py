"""An epoch, a step or a fit inside another one leaves what is around it as it was."""

import threading
from collections.abc import Callable as Function
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    Learner,
    LossBegin,
    Phase,
    ProtectedException,
    Read,
    RunFirst,
    StepBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.authoring import batches
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError, CancelError, ThreadError
from treadle.operations import Backward, Forward, Loss

BATCH = (torch.full((2, 2), 0.3), torch.full((2, 1), 0.5))

EVENTS = [
    FitBegin,
    EpochBegin,
    StepBegin,
    LossBegin,
    BackwardBegin,
    BackwardEnd,
    UpdateBegin,
    UpdateEnd,
    StepEnd,
    EpochEnd,
    FitEnd,
]
IN_A_PHASE = [event for event in EVENTS if event not in (FitBegin, FitEnd)]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))


def loader(n: int, seed: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.rand(4, 2, generator=generator), torch.rand(4, 1, generator=generator)) for _ in range(n)]


def learner_of(*callbacks) -> Learner:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    data = (loader(3, 1), loader(2, 2))
    return Learner(
        model,
        nn.functional.mse_loss,
        data=data,
        optimizer=optimizer,
        callbacks=callbacks,
        use_default_callbacks=False,
    )


@dataclass(frozen=True)
class Other(AbstractTrainingPhase):
    """A training phase that is not `TrainingPhase`, and equal to others of the same number."""

    number: int = 0

    def step(self, learner, batch):
        TrainingPhase.step(self, learner, batch)


class Watch(Callback):
    """Notes at every event of training what is under way; runs after whoever is named first in the order."""

    state_access = {"step": Read, "model": Read, "data": Read}

    def __init__(self, name: str = "Watch") -> None:
        self.name, self.seen = name, []

    def note(self, learner, event, phase) -> None:
        if phase is not None and learner.progress.phase is not phase:
            raise AssertionError(f"{event} of {phase} while {learner.progress.phase} is under way")
        if type(phase) is not TrainingPhase:
            return
        progress, step = learner.progress, learner.step
        state = {name: value.detach().clone() for name, value in step.items() if isinstance(value, torch.Tensor)}
        if "grads" in step and event is not EpochBegin:
            state |= {f"grad of {name}": step.grads[name].clone() for name in step.grads}
        counts = (progress.epoch, progress.step)
        modes = [module.training for module in learner.model.modules()]
        self.seen.append((event, counts, modes, torch.is_grad_enabled(), len(learner.data.training), state))

    def on_epoch_begin(self, learner, phase):
        self.note(learner, EpochBegin, phase)

    def on_step_begin(self, learner, phase):
        self.note(learner, StepBegin, phase)

    def on_loss_begin(self, learner, phase):
        self.note(learner, LossBegin, phase)

    def on_backward_begin(self, learner, phase):
        self.note(learner, BackwardBegin, phase)

    def on_backward_end(self, learner, phase):
        self.note(learner, BackwardEnd, phase)

    def on_step_end(self, learner, phase):
        self.note(learner, StepEnd, phase)

    def on_epoch_end(self, learner, phase):
        self.note(learner, EpochEnd, phase)


class Nester(CustomCallback):
    """Runs something inside of an event of training, and not inside of itself."""

    def __init__(self, event, inside: Function, name: str) -> None:
        super().__init__(self.run, event, state_access={"loop": Write})
        self.name, self.inside, self.busy = name, inside, False

    def run(self, learner) -> None:
        if self.busy or type(learner.progress.phase) not in (TrainingPhase, type(None)):
            return
        self.busy = True
        try:
            self.inside(learner)
        finally:
            self.busy = False

    def resolve_conflict(self, other):
        return RunFirst(min(self, other, key=lambda callback: callback.name)) if isinstance(other, Nester) else None


def nester(event, inside: Function, name: str = "Nester") -> Callback:
    return Nester(event, inside, name)


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(
        a[:-1] == b[:-1]
        and a[-1].keys() == b[-1].keys()
        and all(torch.equal(a[-1][name], b[-1][name]) for name in a[-1])
        for a, b in zip(first, second, strict=True)
    )


#: What leaves no trace at all.
WATCHING = {
    "an epoch of validation": lambda learner: learner.loop.epoch(ValidationPhase()),
    "an epoch of validation over other data": lambda learner: learner.loop.epoch(ValidationPhase(), [BATCH]),
    "a step of validation": lambda learner: learner.loop.step(ValidationPhase(), BATCH),
    "two of them": lambda learner: [learner.loop.step(ValidationPhase(), BATCH) for _ in range(2)],
}

#: What trains, so the weights are others afterwards.
TRAINING = {
    "an epoch of training": lambda learner: learner.loop.epoch(TrainingPhase()),
    "an epoch of training over other data": lambda learner: learner.loop.epoch(TrainingPhase(), [BATCH]),
    "a step of training": lambda learner: learner.loop.step(TrainingPhase(), BATCH),
    "a step of another phase": lambda learner: learner.loop.step(Other(), BATCH),
    "an epoch of another phase": lambda learner: learner.loop.epoch(Other()),
}


@settings(max_examples=40, deadline=None)
@given(
    nestings=st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from(sorted(WATCHING))), min_size=1, max_size=3, unique=True
    ),
    before=st.booleans(),
)
def test_what_watches_inside_of_training_leaves_training_as_it_was(nestings, before) -> None:
    alone, watch = Watch(), Watch("Z" if before else "A")
    without = learner_of(alone)
    torch.manual_seed(3)
    expected = without.fit(2)
    inner = [nester(event, WATCHING[what], f"N{i}") for i, (event, what) in enumerate(nestings)]
    learner = learner_of(watch, *inner)
    torch.manual_seed(3)
    assert learner.fit(2) == expected
    assert same(watch.seen, alone.seen)
    for name, value in without.model.state_dict().items():
        assert torch.equal(learner.model.state_dict()[name], value), name
    assert (learner.progress.phase, learner.position.scopes, learner.position.length) == (None, [], None)


#: Where nothing waits for its backward pass, which needs the weights as they were: torch refuses it otherwise.
FREE = [event for event in IN_A_PHASE if event not in (LossBegin, BackwardBegin)]


@pytest.mark.parametrize("event", FREE, ids=lambda event: event.__name__)
@pytest.mark.parametrize("what", sorted(TRAINING))
def test_what_trains_inside_of_training_counts_and_leaves_the_outer_step_as_it_was(event, what) -> None:
    seen: list[tuple] = []

    def around(learner) -> None:
        real = learner._learner
        before = (real.step, dict(real.step), real.progress.phase, real.progress.epoch, real.progress.step)
        grads = [parameter.grad for parameter in real.model.parameters()]
        steps, position = real.progress.steps, (list(real.position.updates.unfinished), real.progress.accumulated)
        TRAINING[what](learner)
        assert (real.step, dict(real.step), real.progress.phase, real.progress.epoch, real.progress.step) == before
        assert all(grad is parameter.grad for grad, parameter in zip(grads, real.model.parameters(), strict=True))
        assert (list(real.position.updates.unfinished), real.progress.accumulated) == position
        seen.append(real.progress.steps - steps)

    learner = learner_of(nester(event, around))
    result = learner.fit(1)
    count = 1 if "step of" in what or "other data" in what else 3
    assert seen == [count] * (1 if event in (EpochBegin, EpochEnd) else 3)
    assert result.steps == learner.progress.steps == 3 + sum(seen)
    assert result.epochs == 1 + (len(seen) if "epoch" in what else 0)


def test_a_step_gives_its_own_state_and_leaves_that_of_the_step_around_it() -> None:
    states = []

    class Twice(Callback):
        state_access = {"loop": Write, "step": Read}

        def on_loss_begin(self, learner, phase: TrainingPhase):
            states.append(learner.loop.step(ValidationPhase(), BATCH))
            states.append(learner._learner.step)

    learner = learner_of(Twice())
    step(learner, TrainingPhase(), learner.data.training[0])
    assert torch.equal(states[0].xs, BATCH[0])
    assert states[1] is learner.step
    assert torch.equal(learner.step.xs, learner.data.training[0][0])


def test_a_phase_whose_step_runs_a_step_of_another_phase_keeps_its_own_state() -> None:
    losses: list[float] = []

    class Both(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
                TrainingPhase().step(learner, batch)
                state.loss = torch.tensor(7.0)

    record = CustomCallback(lambda learner: losses.append(float(learner.step.loss)), StepEnd, Both, {"step.loss": Read})
    learner = learner_of(record)
    assert learner.fit(1, phases=[Both()]).steps == 6
    assert losses == [7.0, 7.0, 7.0]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_equal_phases_inside_of_each_other_are_each_passed_their_own(depth) -> None:
    phases = [Other(1) for _ in range(depth)]
    seen: list[tuple[str, int]] = []

    class Deeper(Callback):
        state_access = {"loop": Write}
        level = 0

        def on_step_end(self, learner, phase: Other):
            seen.append(("before", next(i for i, other in enumerate(phases) if other is phase)))
            if self.level + 1 < depth:
                self.level += 1
                learner.loop.step(phases[self.level], BATCH)
                self.level -= 1

    class Later(Callback):
        run_after = (Deeper,)

        def on_step_end(self, phase: Other):
            seen.append(("after", next(i for i, other in enumerate(phases) if other is phase)))

    learner = learner_of(Deeper(), Later())
    step(learner, phases[0], BATCH)
    inward, outward = [("before", i) for i in range(depth)], [("after", i) for i in reversed(range(depth))]
    assert seen == inward + outward


@pytest.mark.parametrize("event", [FitBegin, *FREE, FitEnd], ids=lambda event: event.__name__)
def test_a_fit_inside_of_a_fit_has_its_own_begin_and_end_and_costs_no_record(event) -> None:
    events: list[str] = []

    class Record(Callback):
        state_access = {"step": Read}

        def on_fit_begin(self):
            events.append("begin")

        def on_step_end(self, learner, phase: TrainingPhase):
            events.append(f"{learner.progress.epoch}.{learner.progress.step}")

        def on_fit_end(self):
            events.append("end")

    results = []
    learner = learner_of(Record(), nester(event, lambda learner: results.append(learner._learner.fit(1))))
    result = learner.fit(2)
    inner = len(results)
    assert all((r.epochs, r.steps, r.cancelled) == (1, 3, None) for r in results)
    assert (result.epochs, result.steps, result.cancelled) == (2 + inner, 6 + 3 * inner, None)
    assert (events.count("begin"), events.count("end")) == (1 + inner, 1 + inner)
    assert [events[0], events[-1]] == ["begin", "end"]
    assert (learner.progress.phase, learner.position.scopes, learner.position.length) == (None, [], None)
    assert learner.progress.epoch == 2


# Cancels.


def cancelling(cancel: type[Exception], event, phase, **options) -> Callback:
    def run(learner) -> None:
        raise cancel("stop")

    return CustomCallback(run, event, phase, **options)


@pytest.mark.parametrize("event", [EpochBegin, EpochEnd], ids=lambda event: event.__name__)
def test_a_cancelled_step_of_an_inner_epoch_without_a_step_does_not_cancel_the_outer_step(event) -> None:
    inner = nester(StepEnd, WATCHING["an epoch of validation"])
    learner = learner_of(inner, cancelling(CancelStepException, event, ValidationPhase))
    with pytest.raises(
        CancelError, match=r"^CancelStepException was raised where no step was under way: stop\.\nFix: "
    ):
        learner.fit(1)


@pytest.mark.parametrize("cancel", [CancelStepException, CancelEpochException])
def test_a_cancel_inside_an_inner_epoch_ends_what_is_inside_of_it(cancel) -> None:
    inner = nester(StepEnd, WATCHING["an epoch of validation"])
    learner = learner_of(inner, cancelling(cancel, LossBegin, ValidationPhase))
    result = learner.fit(2)
    assert (result.epochs, result.steps, result.cancelled) == (2, 6, None)


def test_a_fit_cancelled_inside_an_inner_epoch_is_cancelled() -> None:
    inner = nester(StepBegin, WATCHING["an epoch of validation"])
    learner = learner_of(inner, cancelling(CancelFittingException, LossBegin, ValidationPhase))
    result = learner.fit(2)
    assert (result.epochs, result.steps, str(result.cancelled)) == (0, 0, "stop")
    assert learner.fit(0).cancelled is None


def test_an_inner_fit_that_is_cancelled_does_not_cancel_the_outer_one() -> None:
    cancelled = []

    class Inner(Callback):
        state_access = {"step": Read}
        busy = False

        def on_step_end(self, learner, phase: TrainingPhase):
            if self.busy:
                raise CancelFittingException("the inner one")
            self.busy = True
            cancelled.append(str(learner._learner.fit(5).cancelled))
            self.busy = False

    learner = learner_of(Inner())
    result = learner.fit(1)
    assert (cancelled, result.cancelled, result.epochs) == (["the inner one"] * 3, None, 1)


# Gradients that are kept from step to step.


class Accumulate(Callback):
    """Updates after every four batches."""

    def accumulate(self, learner, phase: TrainingPhase):
        return learner.progress.accumulated < 3


@pytest.mark.parametrize("event", [StepBegin, LossBegin, BackwardBegin], ids=lambda event: event.__name__)
def test_a_step_cancelled_before_its_backward_pass_keeps_the_gradients_of_earlier_batches(event) -> None:
    class Skip(Callback):
        """Cancels the third step."""

        steps = 0

        def cancel(self) -> None:
            self.steps += 1
            if self.steps == 3:
                raise CancelStepException

    setattr(Skip, event.hook, lambda self, phase: self.cancel())
    seen: list[tuple[int, float]] = []
    look = CustomCallback(
        lambda learner: seen.append((learner.progress.accumulated, learner.step.grads["weight"].item())),
        BackwardEnd,
        state_access={"step.grads": Read},
    )
    learner = toy_learner(Skip(), Accumulate(), look, nbatches=5)
    ones = [(torch.full((1, 1), 1.0), torch.full((1, 1), 100.0))] * 5
    learner.fit(1, (ones,))
    assert seen == [(1, -1.0), (2, -2.0), (3, -3.0), (4, -4.0)]
    assert learner.progress.updates == 1


def test_a_step_cancelled_after_its_backward_pass_began_drops_all_gradients_of_its_update() -> None:
    class Skip(Callback):
        steps = 0

        def on_backward_end(self, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 3:
                raise CancelStepException

    seen: list[tuple[int, float]] = []
    look = CustomCallback(
        lambda learner: seen.append((learner.progress.accumulated, learner.step.grads["weight"].item())),
        StepEnd,
        TrainingPhase,
        state_access={"step.grads": Read},
    )
    learner = toy_learner(Skip(), Accumulate(), look, nbatches=5)
    ones = [(torch.full((1, 1), 1.0), torch.full((1, 1), 100.0))] * 5
    learner.fit(1, (ones,))
    assert seen == [(1, -1.0), (2, -2.0), (1, -1.0), (2, -2.0)]


def test_a_cancelled_epoch_drops_an_unfinished_update() -> None:
    class Short(Callback):
        def on_step_end(self, learner, phase: TrainingPhase):
            if learner.progress.step == 2:
                raise CancelEpochException

    seen: list[int] = []
    look = CustomCallback(lambda learner: seen.append(learner.progress.accumulated), EpochEnd, TrainingPhase)
    learner = toy_learner(Short(), Accumulate(), look)
    learner.fit(2)
    assert (seen, learner.progress.updates, learner.position.updates.unfinished) == ([0, 0], 0, {})


@pytest.mark.parametrize("event", FREE, ids=lambda event: event.__name__)
@pytest.mark.parametrize("what", sorted({**TRAINING, **WATCHING}))
def test_the_gradients_of_an_unfinished_update_survive_what_runs_inside(event, what) -> None:
    def around(learner) -> None:
        real = learner._learner
        before = [None if p.grad is None else (p.grad, p.grad.clone()) for p in real.model.parameters()]
        counts = real.progress.accumulated, list(real.position.updates.unfinished)
        {**TRAINING, **WATCHING}[what](learner)
        for held, parameter in zip(before, real.model.parameters(), strict=True):
            assert (held is None) == (parameter.grad is None)
            assert held is None or (held[0] is parameter.grad and torch.equal(*held))
        assert (real.progress.accumulated, list(real.position.updates.unfinished)) == counts

    learner_of(nester(event, around), Accumulate()).fit(2)


# The right to enter the loop.


class Inside(Callback):
    """Uses `learner.loop` as it is told."""

    def __init__(self, use, access) -> None:
        self.use, self.state_access = use, access

    def on_loss_begin(self, learner, phase: TrainingPhase):
        self.use(learner)


def test_who_does_not_declare_the_loop_may_not_enter_it() -> None:
    with pytest.raises(ProtectedException, match=r'reads `loop` and does not declare it\.\nFix: .*\n    "loop": Write'):
        toy_learner(Inside(lambda learner: learner.loop.epoch(ValidationPhase()), {})).fit(1)


def test_an_operation_is_performed_in_the_phase_that_is_under_way() -> None:
    losses: list[tuple[float, float]] = []

    def again(learner) -> None:
        yhats = learner.loop.perform(Forward)
        learner.step.yhats = yhats
        losses.append((learner.loop.perform(Loss).item(), (yhats - learner.step.ys).abs().mean().item()))

    learner = toy_learner(Inside(again, {"loop": Write, "step": Write}), nbatches=2)
    learner.fit(1)
    assert [first for first, _ in losses] == pytest.approx([second for _, second in losses])
    assert len(losses) == 2


def test_what_is_not_an_operation_is_not_performed() -> None:
    with pytest.raises(ArgumentTypeError, match=r"operation must be .*Operation"):
        toy_learner(Inside(lambda learner: learner.loop.perform(StepEnd), {"loop": Write})).fit(1)


def test_no_operation_is_performed_where_no_phase_is_under_way() -> None:
    begin = CustomCallback(lambda learner: learner.loop.perform(Backward), FitBegin, state_access={"loop": Write})
    with pytest.raises(CallbackError, match=r"^Backward was to be performed where no phase is under way\.\nFix: "):
        toy_learner(begin).fit(1)


def test_a_copy_of_a_learner_has_a_loop_of_its_own() -> None:
    import copy

    learner = toy_learner()
    other = copy.deepcopy(learner)
    other.loop.step(TrainingPhase(), learner.data.training[0])
    assert (learner.progress.steps, other.progress.steps) == (0, 1)


# Validation between two steps of a phase's own epoch.


class Often(AbstractTrainingPhase):
    """Validates after every second step, in the middle of its epoch."""

    def epoch(self, learner, data):
        with run_epoch(learner, self):
            for i, batch in enumerate(batches(learner, self, data)):
                step(learner, self, batch)
                if i % 2:
                    epoch(learner, ValidationPhase())

    def step(self, learner, batch):
        TrainingPhase.step(self, learner, batch)


def test_a_phase_may_validate_inside_of_its_own_epoch() -> None:
    places: list[tuple[type[Phase], int, int]] = []

    class Record(Callback):
        def on_step_end(self, learner, phase):
            places.append((type(phase), learner.progress.epoch, learner.progress.step))

    learner = toy_learner(Record(), nbatches=4)
    assert learner.fit(1, phases=[Often()]).steps == 4
    training = [(Often, 1, i) for i in range(1, 5)]
    validation = [(ValidationPhase, 1, i) for i in range(1, 5)]
    assert places == [*training[:2], *validation, *training[2:], *validation]
    assert learner.position.rounds == 0


# Another thread.


def in_a_thread(function: Function) -> BaseException | None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


@pytest.mark.parametrize(
    "use",
    [
        lambda learner: learner.fit(1),
        lambda learner: epoch(learner, ValidationPhase()),
        lambda learner: step(learner, TrainingPhase(), BATCH),
        lambda learner: run_epoch(learner, TrainingPhase()).__enter__(),
        lambda learner: run_step(learner, ValidationPhase()).__enter__(),
    ],
    ids=["fit", "epoch", "step", "run_epoch", "run_step"],
)
def test_a_learner_whose_loop_runs_in_one_thread_is_refused_in_a_second_one(use) -> None:
    raised: list[BaseException | None] = []
    learner = learner_of()
    second = CustomCallback(lambda view: raised.append(in_a_thread(lambda: use(learner))), StepEnd, TrainingPhase)
    learner.set_callbacks([second])
    assert learner.fit(1).steps == 3
    assert [type(error) for error in raised] == [ThreadError] * 3
    assert str(raised[0]).startswith("The loop of this learner was entered from a second thread")
    assert '\n    state_access = {"loop": Write}' in str(raised[0])


def test_a_learner_is_used_in_one_thread_after_another() -> None:
    learner = learner_of()
    assert in_a_thread(lambda: learner.fit(1)) is None
    assert learner.fit(1).steps == 3


# A `with` block.


@pytest.mark.parametrize("kind", [run_epoch, run_step])
def test_one_object_is_not_entered_inside_of_its_own_block(kind) -> None:
    learner = learner_of()
    scope = kind(learner, ValidationPhase())
    refused = pytest.raises(
        ArgumentValueError, match=f"^The same {kind.__name__} was entered again, .*\\.\nFix: make one"
    )
    with kind(learner, TrainingPhase()), refused, scope, scope:
        raise AssertionError("entered twice")
    assert (learner.position.scopes, learner.progress.phase) == ([], None)


@pytest.mark.parametrize("phase", [TrainingPhase(), ValidationPhase()], ids=str)
def test_a_fit_finds_a_clean_learner_also_after_a_block_that_could_not_be_left(phase) -> None:
    learner = learner_of()
    scope = run_epoch(learner, phase)
    scope.__enter__()
    del scope  # as after an interrupt in the first line of its __exit__
    assert torch.is_grad_enabled() == phase.training
    result = learner.fit(1)
    assert (result.epochs, result.steps) == (1, 3)
    assert (learner.progress.phase, torch.is_grad_enabled(), learner.position.scopes) == (None, True, [])
    assert all(module.training for module in learner.model.modules())
