"""A guard is not passed by: a phase that would is refused at the end of its first step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CallbackError,
    CancelStepException,
    CancelUpdateException,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    LossBegin,
    Phase,
    Read,
    StepBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    step,
    throttle,
    toy_learner,
)
from treadle.operations import Accumulate, Backward, Epoch, FinalizeGradients, Forward, Loss, Step, Update

BETWEEN = [LossBegin, BackwardBegin, BackwardEnd, Forward, Loss]
ALWAYS = [StepBegin, StepEnd, EpochBegin, EpochEnd, Epoch, Step]  # dispatched by the loop itself
BATCH = toy_learner().data.training[0]


def guard_of(hooks, access=(), phase: Any = None, **attributes: Any) -> Callback:
    """A guard that handles events, and wraps operations, in a type of phase."""
    namespace: dict[str, Any] = {"guard": True, "state_access": dict.fromkeys(access, Read), **attributes}

    def handle_outside(self): ...

    for hook in hooks:

        def handle(self, phase): ...

        def wrap(self, phase):
            return (yield)

        function = handle if hook.hook.startswith("on_") else hookimpl(wrap, wrapper=True)
        if not hook.phased:
            function = handle_outside
        elif phase is not None:
            function.__annotations__["phase"] = phase
        namespace[hook.hook] = function
    return type("Guard", (Callback,), namespace)()


def phase_of(hooks, entries=(), base: type[Phase] = AbstractTrainingPhase) -> Phase:
    """A phase whose steps do these hooks and have these entries."""

    def run(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1], yhats=batch[0]) as (handle, state):
            for hook in hooks:
                handle(hook)
            for entry in entries:
                setattr(state, entry, 1)

    return type("Mine", (base,), {"step": run, "data_name": "training"})()


@settings(deadline=None, max_examples=100)
@given(
    st.sets(st.sampled_from(BETWEEN)),
    st.sets(st.sampled_from([*BETWEEN, *ALWAYS, FitBegin, FitEnd]), min_size=1),
    st.sampled_from([AbstractTrainingPhase, AbstractValidationPhase, Phase]),
    st.sampled_from([None, Phase, AbstractTrainingPhase, AbstractValidationPhase]),
    st.sets(st.sampled_from(["loss", "other"])),
    st.sets(st.sampled_from(["step.xs", "step.loss", "step.other.part", "step", "model"])),
)
def test_a_phase_that_would_pass_a_guard_by_is_refused_and_no_other(
    does, handles, base, annotation, entries, access
) -> None:
    phase = phase_of(sorted(does, key=BETWEEN.index), sorted(entries), base)
    learner = toy_learner(guard_of(handles, access, annotation), data=([BATCH] * 3,))
    restricted = annotation in (AbstractTrainingPhase, AbstractValidationPhase)
    concerned = isinstance(phase, annotation) if restricted else base.training is True
    needed = {hook for hook in handles if hook.phased} if concerned else set()
    missing = needed & set(BETWEEN) - does
    declared = {path.split(".")[1] for path in access if path.startswith("step.")}
    absent = declared - {"xs", *entries} if needed else set()
    if missing or absent:
        with pytest.raises(CallbackError, match=r"^Guard is a guard and .*ended without it") as raised:
            learner.fit(2, phases=[phase])
        assert learner.progress.step == 0
        assert learner.progress.steps == (base.training is True)
        for hook in missing:
            assert f"`{hook.hook}`" in str(raised.value)
    else:
        learner.fit(2, phases=[phase])


def test_the_message_names_what_is_missing_and_how_it_gets_there() -> None:
    with pytest.raises(
        CallbackError,
        match=r"^Guard is a guard and handles `on_backward_begin`, `on_backward_end`, and a step of Mine "
        r"ended without it, so nothing is guarded there\.\n"
        r"Fix: leave Guard out, restrict its handlers to other phases in a subclass, by an annotation of `phase`, or "
        r"let Mine do what it handles:\n    handle\(BackwardBegin\)\n    handle\(BackwardEnd\)$",
    ):
        step(toy_learner(guard_of([BackwardBegin, BackwardEnd, StepEnd])), phase_of([]), BATCH)


def test_the_message_begins_with_the_fix_that_the_guard_itself_offers() -> None:
    guard = guard_of([BackwardEnd, StepEnd], guard_fix="count its steps:\n    Counter(each='step')")
    with pytest.raises(
        CallbackError,
        match=r"\nFix: count its steps:\n    Counter\(each='step'\)\nOr leave Guard out, restrict its handlers to ",
    ):
        step(toy_learner(throttle(guard, StepEnd, freq=2)), phase_of([]), BATCH)


def test_the_message_names_the_entry_that_is_missing_and_the_one_that_may_be_meant() -> None:
    with pytest.raises(
        CallbackError,
        match=r"^Guard is a guard and uses `step\.los`, and a step of Mine ended without it, so nothing "
        r"is guarded there\. Did you mean `loss`\?\n"
        r"Fix: let Guard use an entry that these steps have, leave it out, or set the entry in Mine\.step:\n"
        r"    state\.los = \.\.\.$",
    ):
        step(toy_learner(guard_of([StepEnd], ["step.los"])), phase_of([], ["loss"]), BATCH)


def test_the_cores_phases_pass_no_guard_by() -> None:
    hooks = [*BETWEEN, *ALWAYS, FitBegin, FitEnd]
    assert toy_learner(guard_of(hooks, ["step.xs", "step.loss", "step.grads"], TrainingPhase)).fit(1).epochs == 1


def test_a_step_that_was_cancelled_is_not_looked_at() -> None:
    class SkipsTwo(Callback):
        count = 0

        def on_loss_begin(self):
            self.count += 1
            if self.count <= 2:
                raise CancelStepException("not yet")

    learner = toy_learner(guard_of([BackwardEnd]), SkipsTwo(), nbatches=3)
    assert learner.fit(1).steps == 1
    broken = toy_learner(guard_of([BackwardEnd]), SkipsTwo(), nbatches=3)
    with pytest.raises(CallbackError, match="`on_backward_end`"):
        broken.fit(1, phases=[phase_of([LossBegin])])
    assert broken.progress.steps == 1


def test_a_step_on_its_own_needs_no_epoch() -> None:
    learner = toy_learner(guard_of([EpochBegin, EpochEnd, Epoch, StepEnd]))
    step(learner, TrainingPhase(), BATCH)
    assert learner.progress.steps == 1


def test_an_epoch_by_hand_does_not_do_the_operation_that_a_guard_wraps() -> None:
    learner, phase = toy_learner(guard_of([Epoch])), TrainingPhase()
    with pytest.raises(CallbackError, match="handles `epoch`"), run_epoch(learner, phase):
        step(learner, phase, BATCH)


def test_in_a_run_that_is_resumed_each_guard_may_find_what_it_needs_in_another_step() -> None:
    class Alternates(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self) as (_, state):
                state["odd" if learner.progress.step % 2 else "even"] = 1

    learner = toy_learner(*(guard_of([StepEnd], [f"step.{name}"], name=name) for name in ("odd", "even")))
    learner.position.resumed = True
    assert learner.fit(2, phases=[Alternates()]).steps == 32


@pytest.mark.parametrize("found_in", [1, 2, 3, None])
def test_in_a_run_that_is_resumed_what_it_needs_may_come_until_the_end_of_an_epoch(found_in) -> None:
    class Alternates(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self) as (handle, state):
                if learner.progress.step == found_in:
                    handle(BackwardEnd)
                    state.loss = 1

    learner = toy_learner(guard_of([BackwardEnd], ["step.loss"]), data=([BATCH] * 3,))
    learner.position.resumed = True
    if found_in is None:
        with pytest.raises(CallbackError, match="handles `on_backward_end`"):
            learner.fit(2, phases=[Alternates()])
        assert learner.progress.steps == 3
    else:
        learner.fit(2, phases=[Alternates()])


class Accumulates(Callback):
    """Updates with the n-th batch; of the first steps it cancels the updates."""

    def __init__(self, n: int, cancels: int = 0) -> None:
        self.n, self.cancels = n, cancels

    def accumulate(self, learner, phase: AbstractTrainingPhase):
        return learner.progress.accumulated + 1 < self.n

    def on_backward_end(self, learner):
        if learner.progress.steps < self.cancels:
            raise CancelUpdateException


OF_AN_UPDATE = [FinalizeGradients, UpdateBegin, Update, UpdateEnd]


@pytest.mark.parametrize("hook", OF_AN_UPDATE)
@pytest.mark.parametrize(("n", "cancels"), [(1, 0), (2, 0), (3, 0), (9, 0), (1, 2), (2, 2), (1, 9)])
def test_where_updates_are_run_nothing_of_them_is_passed_by(hook, n, cancels) -> None:
    learner = toy_learner(guard_of([hook]), Accumulates(n, cancels), nbatches=3)
    assert learner.fit(2).epochs == 2


@pytest.mark.parametrize("cancels", [1, 3, 9])
@pytest.mark.parametrize("where", ["on_backward_begin", "backward"])
def test_an_update_that_is_cancelled_before_there_are_gradients_passes_nobody_by(where, cancels) -> None:
    def cancel(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.steps < cancels:
            raise CancelUpdateException

    guard = guard_of([Backward, BackwardEnd, UpdateBegin])
    guard.state_access = {"step.grads": Read}
    learner = toy_learner(guard, type("Cancels", (Callback,), {where: cancel})(), nbatches=3)
    assert learner.fit(2).steps == 6


def test_an_update_that_changes_nothing_passes_nobody_by() -> None:
    class Skips(Callback):
        def update(self):
            return False

    assert toy_learner(guard_of(OF_AN_UPDATE), Skips(), nbatches=3).fit(2).steps == 6


@pytest.mark.parametrize("hook", OF_AN_UPDATE)
def test_who_accumulates_by_hand_and_comes_to_no_update_until_the_end_of_the_epoch_passes_it_by(hook) -> None:
    class ByHand(AbstractTrainingPhase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.accumulating = handle(Accumulate)

    learner = toy_learner(guard_of([hook]), Accumulates(9), nbatches=3)
    with pytest.raises(
        CallbackError,
        match=rf"^Guard is a guard and handles `{hook.hook}`, and an epoch of ByHand ended without it.*\nFix: ",
    ):
        learner.fit(2, phases=[ByHand()])
    assert learner.progress.steps == 3
    once = toy_learner(guard_of([hook]), Accumulates(1), nbatches=3)
    with pytest.raises(CallbackError, match="a step of ByHand ended without it"):
        once.fit(2, phases=[ByHand()])
    assert once.progress.steps == 1


@pytest.mark.parametrize("hook", [Accumulate, *OF_AN_UPDATE])
def test_a_phase_that_does_not_run_updates_is_told_how(hook) -> None:
    with pytest.raises(CallbackError, match=r"let Mine do what it handles:\n    run_update\(learner, self\)$"):
        step(toy_learner(guard_of([hook])), phase_of([BackwardEnd]), BATCH)


def test_inside_of_a_throttle_it_is_a_guard_too() -> None:
    learner = toy_learner(throttle(guard_of([BackwardEnd]), BackwardEnd, freq=10))
    with pytest.raises(CallbackError, match="`on_backward_end`"):
        step(learner, phase_of([]), BATCH)


def test_what_is_no_guard_may_be_passed_by() -> None:
    watch = guard_of([BackwardEnd], guard=False)
    step(toy_learner(watch), phase_of([]), BATCH)


def test_equal_phases_are_looked_at_once() -> None:
    asked = []

    class Counts(Callback):
        guard = True

        @property
        def state_access(self):
            asked.append(1)
            return {}

        def on_step_end(self): ...

    learner = toy_learner(Counts(), nbatches=4)
    learner.fit(1, (learner.data.training,))
    before = len(asked)
    learner.fit(3, (learner.data.training,))
    assert len(asked) == before


def test_a_default_callback_that_nobody_named_warns_once_for_a_type_of_phase() -> None:
    guard, warnings = guard_of([BackwardEnd]), []
    guard._is_default = True
    handler = logger.add(warnings.append, format="{message}", level="WARNING")
    try:
        learner = toy_learner(guard)
        for _ in range(2):
            epoch(learner, phase_of([]), [BATCH])
        mine = phase_of([])
        for _ in range(2):
            epoch(learner, mine, [BATCH] * 2)
    finally:
        logger.remove(handler)
    assert [warning.partition(" and a step")[0] for warning in warnings] == [
        "Guard is a guard and handles `on_backward_end`,"
    ] * 3  # three types
