"""Callbacks that keep to their declarations give the same run in threads as one after the other, whatever they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    EpochBegin,
    EpochEnd,
    LinearRunner,
    LossBegin,
    Read,
    RunFirst,
    StepBegin,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    toy_learner,
)

RUNNER = ThreadedRunner(3)
ENTRIES = ["a", "b", "c"]
EVENTS = [EpochBegin, StepBegin, LossBegin, StepEnd, EpochEnd]
IN_STEP = [StepBegin, LossBegin, StepEnd]
CANCELS = [(event, CancelStepException) for event in IN_STEP] + [
    (event, kind) for event in EVENTS for kind in (CancelEpochException, CancelFittingException)
]


@dataclass
class Behaviour:
    """What a callback declares and does."""

    access: dict[str, Any]
    handles: set[Any]
    cancels: dict[Any, Any]  # where it cancels what, and how often it runs there before
    wraps: bool
    overrides: bool
    enters: bool


behaviours = st.builds(
    Behaviour,
    st.dictionaries(st.sampled_from(ENTRIES), st.sampled_from([Read, Write])),
    st.sets(st.sampled_from(EVENTS)),
    st.lists(st.tuples(st.sampled_from(CANCELS), st.integers(1, 4)), max_size=2).map(dict),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


class Begins(Callback):
    """Fills the entries, so that they can be read."""

    state_access = {f"cbstate.{name}": Write for name in ENTRIES}

    def on_init(self, learner):
        for name in ENTRIES:
            setattr(learner.cbstate, name, 1)

    def resolve_conflict(self, other):
        return RunFirst(self)


class Drawn(Callback):
    """Does what was drawn, and computes what it writes from what it reads."""

    def __init__(self, i: int, behaviour: Behaviour) -> None:
        self.i, self.behaviour, self.seen = i, behaviour, []
        self.name = f"{'DBAC'[i]}{i}"
        self.state_access = {f"cbstate.{name}": mode for name, mode in behaviour.access.items()}
        if behaviour.enters:
            self.state_access["loop"] = Write

    def resolve_conflict(self, other):
        return RunFirst(self if self.i < getattr(other, "i", -1) else other)

    def work(self, learner, hook: str) -> None:
        self.seen.append(hook)
        read = [getattr(learner.cbstate, name) for name in sorted(self.behaviour.access)]
        for name, mode in self.behaviour.access.items():
            if mode is Write:
                setattr(learner.cbstate, name, hash((self.i, hook, *read)) % 10**12)


def made(i: int, behaviour: Behaviour) -> Callback:
    def handler_of(event):
        def handle(self, learner, phase):
            self.work(learner, event.hook)
            if self.behaviour.enters and event is StepEnd and isinstance(phase, TrainingPhase):
                learner.loop.epoch(ValidationPhase())
            for (at, kind), count in self.behaviour.cancels.items():
                if at is event and self.seen.count(event.hook) == count:
                    raise kind(f"by {self.name}")

        return handle

    def wrap(self, learner):
        self.work(learner, "before")
        result = yield
        self.work(learner, "after")
        return result

    def override(self, learner):
        self.work(learner, "instead")

    methods: dict[str, Any] = {event.hook: handler_of(event) for event in behaviour.handles}
    if behaviour.wraps:
        methods["forward"] = hookimpl(wrap, wrapper=True)
    if behaviour.overrides:
        methods["loss"] = override
    return type("Mine", (Drawn,), methods)(i, behaviour)


def outcome(drawn: list[Behaviour], runner: Any, order: list[int]) -> tuple[Any, ...]:
    callbacks = [made(i, behaviour) for i, behaviour in enumerate(drawn)]
    learner = toy_learner(Begins(), *(callbacks[i] for i in order), runner=runner, nbatches=3)
    result = learner.fit(2)
    return (
        dict(learner.cbstate),
        str(learner.progress),
        (result.epochs, result.steps, repr(result.cancelled)),
        getattr(result.cancelled, "__notes__", None),
        [callback.seen for callback in callbacks],
        learner.model.weight.item(),
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(behaviours, min_size=2, max_size=4), st.data())
def test_a_run_in_threads_is_the_run_one_after_the_other_whoever_cancels_wraps_or_enters_the_loop(drawn, data) -> None:
    order = data.draw(st.permutations(range(len(drawn))))
    assert outcome(drawn, RUNNER, order) == outcome(drawn, LinearRunner(), list(range(len(drawn))))
