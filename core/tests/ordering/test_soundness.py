"""Soundness: for callbacks that keep to their declarations, every order that the graph allows gives the same state.

The callbacks are drawn: they handle and wrap events, wrap and override operations, cancel, and enter the loop again.
"""

import itertools
import random

import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CallbackConflictError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    LinearRunner,
    NotDefined,
    Phase,
    Read,
    RunFirst,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    toy_learner,
)

ENTRIES = ["a", "b", "c", "d"]
EVENTS = ["on_step_begin", "on_update_begin", "on_step_end", "on_epoch_begin"]

#: Operations, with what one that overrides them returns; None for those that are only wrapped here.
OPERATIONS = {
    "accumulate": lambda: True,
    "forward": lambda: torch.ones(8, 1, requires_grad=True) * 2,
    "loss": lambda: torch.ones((), requires_grad=True) * 2,
    "finalize_gradients": None,
    "update": lambda: True,
    "step": None,
}
CANCELS = [CancelUpdateException, CancelStepException, CancelEpochException, CancelFittingException]


class Zero(Callback):
    """Writes what the others read."""

    state_access = {"cbstate": Write}

    def on_init(self, learner): ...


class Updater(Callback):
    """Changes each entry that it writes, by what it reads, so that any two changes in another order differ."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    number = 0
    cancel: tuple[type[Exception], int] | None = None
    enters = False
    resolutions: dict = {}

    def __init__(self) -> None:
        self.calls = 0

    def change(self, learner, salt: int) -> None:
        seen = sum((i + 2) * learner.cbstate[entry] for i, entry in enumerate(self.reads))
        for entry in self.writes:
            learner.cbstate[entry] = (
                learner.cbstate[entry] * (2 * self.number + 3) + seen + self.number + salt
            ) % 1_000_003

    def request(self, learner, hook: str) -> None:
        """What a handler of an event does beside: enter the loop, or cancel at its n-th call."""
        if self.enters:
            learner.loop.step(ValidationPhase(), (torch.ones(8, 1), torch.ones(8, 1)))
        self.calls += 1
        if self.cancel is not None and self.calls == self.cancel[1]:
            kind = self.cancel[0]
            if kind is CancelUpdateException and hook != "on_update_begin":
                kind = CancelStepException  # there is no update to be cancelled
            if kind is CancelStepException and hook == "on_epoch_begin":
                kind = CancelEpochException
            raise kind("Enough.")

    def resolve_conflict(self, other):
        return self.resolutions.get(type(other), NotDefined())


def method(hook: str, salt: int, phase: object, wraps: bool):
    def handle(self, learner, phase):
        self.change(learner, salt)
        if hook in EVENTS:
            return self.request(learner, hook)
        return OPERATIONS[hook]()

    def wrap(self, learner, phase):
        self.change(learner, salt)
        result = yield
        self.change(learner, salt + 100)
        return result

    made = wrap if wraps else handle
    made.__annotations__["phase"] = phase
    return hookimpl(wrapper=True)(made) if wraps else made


@st.composite
def updaters(draw) -> list[type[Updater]]:
    """Classes of updaters. Where reads and writes give two of them no order, `run_after` or a resolution does."""
    classes: list[type[Updater]] = []
    for number in range(draw(st.integers(2, 4))):
        used = draw(st.dictionaries(st.sampled_from(ENTRIES), st.sampled_from([Read, Write]), min_size=1, max_size=3))
        access = {f"cbstate.{entry}": permission for entry, permission in used.items()}
        phases = st.sampled_from([Phase, TrainingPhase, ValidationPhase])
        enters = draw(st.integers(0, 3)) == 0
        if enters:  # in training only, since it runs a step of validation
            access["loop"], phases = Write, st.just(TrainingPhase)
        hooks = draw(st.dictionaries(st.sampled_from([*EVENTS, *OPERATIONS]), phases, min_size=1, max_size=3))
        wraps = tuple(hook for hook in hooks if OPERATIONS.get(hook, 0) is None or draw(st.integers(0, 3)) == 0)
        body = {
            "state_access": access,
            "reads": tuple(used),
            "writes": tuple(entry for entry, permission in used.items() if permission is Write),
            "wraps": wraps,
            "overrides": tuple(hook for hook in hooks if hook in OPERATIONS and hook not in wraps),
            "hooks": tuple(hooks),
            "number": number,
            "run_after": (),
            "enters": enters,
            "cancel": draw(st.none() | st.tuples(st.sampled_from(CANCELS), st.integers(1, 4))),
            **{hook: method(hook, salt, phase, hook in wraps) for salt, (hook, phase) in enumerate(hooks.items())},
        }
        classes.append(type(f"Updater{number}", (Updater,), body))
    for i, j in itertools.combinations(range(len(classes)), 2):
        one, other = classes[i], classes[j]
        how = draw(st.sampled_from(["nothing", "run_after", "resolution"]))
        if how == "nothing" and needs_order(one, other):
            how = "run_after"
        if how == "run_after":
            inside = any(hook in one.hooks and hook not in one.wraps for hook in other.wraps)
            early, late = (other, one) if inside else (one, other)
            late.run_after = (*late.run_after, early)
        elif how == "resolution":
            one.resolutions = {**one.resolutions, other: draw(st.sampled_from(["self", "other"]))}
    return classes


def needs_order(one: type[Updater], other: type[Updater]) -> bool:
    """Whether reads and writes cannot order two updaters."""
    share = {*one.writes} & {*other.reads} or {*other.writes} & {*one.reads} or one.enters or other.enters
    rings = ({*one.wraps} & {*other.hooks}) | ({*other.wraps} & {*one.hooks})
    both = {*one.writes} & {*other.writes} or (one.enters and other.enters) or {*one.overrides} & {*other.overrides}
    return bool(both or (share and rings))


def final_state(classes: list[type[Updater]], names: list[str], runner) -> tuple:
    """The state after a fit of callbacks with these names; the names decide where the graph does not."""
    callbacks = [cls() for cls in classes]
    for callback, name in zip(callbacks, names, strict=True):
        callback.name = name
        callback.resolutions = {
            type(other): RunFirst(callback if chosen == "self" else other)
            for other in callbacks
            for cls, chosen in type(callback).resolutions.items()
            if type(other) is cls
        }
    learner = toy_learner(*callbacks, Zero(), runner=runner, nbatches=2)
    learner.cbstate.update(a=1, b=2, c=3, d=4)
    result = learner.fit(2)
    progress = learner.progress
    cancelled = type(result.cancelled)
    return (
        dict(learner.cbstate),
        learner.model.weight.item(),
        result.steps,
        cancelled,
        progress.updates,
        progress.epochs,
    )


THREADS = ThreadedRunner(3)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(st.data())
def test_every_order_that_the_graph_allows_gives_the_same_state_and_so_do_threads(data) -> None:
    classes = data.draw(updaters())
    names = [chr(ord("A") + i) for i in range(len(classes))]
    try:
        expected = final_state(classes, names, LinearRunner())
    except CallbackConflictError:
        reject()
    orders = list(itertools.permutations(names))
    for chosen in random.Random(0).sample(orders, min(5, len(orders))):
        assert final_state(classes, list(chosen), LinearRunner()) == expected
    assert final_state(classes, names, THREADS) == expected
