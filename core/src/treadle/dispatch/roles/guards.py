"""Guards: callbacks that a phase must not pass by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from treadle.access import parts
from treadle.callback import Callback
from treadle.errors import CallbackError, did_you_mean
from treadle.events import EpochBegin, EpochEnd, Hook, StepEnd, UpdateBegin, UpdateEnd
from treadle.operations import Accumulate, Epoch, FinalizeGradients, Update
from treadle.ordering.handlers import Handler
from treadle.phases import Phase

if TYPE_CHECKING:
    from treadle.learner import Learner

#: What belongs to an epoch, with what shows that it is dispatched; a step may be run on its own.
OF_AN_EPOCH: dict[type[Hook], type[Hook]] = {Epoch: Epoch, EpochBegin: EpochBegin, EpochEnd: EpochBegin}

#: What belongs to an update: a step that accumulates does not come to it, nor one whose update is cancelled.
OF_AN_UPDATE = (FinalizeGradients, UpdateBegin, Update, UpdateEnd)


class GuardCheck:
    """Finds out, once for a phase, whether it passes a guard by.

    In a run that begins, the first step that comes to its end, and whose update was not cancelled, shows it. A step
    with `run_update` passes by nothing that belongs to an update, though it may accumulate, or its update be cancelled;
    one that accumulates by hand has until the end of the epoch. A run that is resumed may go on with a step that has
    not all that the first one had, and is given the rest of that epoch and the next.

    Args:
        guards: The guards of the learner, each with its handlers.
        warned: What has been warned about in this learner.

    Attributes:
        over: Whether it was found out.
    """

    __slots__ = ("_guards", "_learner", "_problems", "_waits", "_warned", "over")

    def __init__(
        self,
        learner: Learner,
        guards: Sequence[tuple[Callback, Sequence[Handler]]],
        warned: set[tuple[Callback, type[Phase]]],
    ) -> None:
        self._learner, self._guards, self._warned = learner, guards, warned
        self._problems: list[tuple[Callback, str]] = []
        self.over = self._waits = False

    def ended(self, hook: type[Hook], phase: Phase, asked: Collection[type[Hook]]) -> None:
        """The end of a step or an epoch was dispatched.

        Args:
            asked: The hooks that the phase has done so far.

        Raises:
            CallbackError: for a guard that guards nothing in this phase. Of a default callback that nobody named,
                it is warned once.
        """
        position, state = self._learner.position, self._learner.step
        if hook is StepEnd:
            if position.updates.cancelled:  # so the step shows less than others will
                return
            waits = not position.updates.ran and state.get("accumulating") is True
            known = [*asked, *OF_AN_UPDATE] if position.updates.ran or waits else asked
            self._problems = list(problems(self._guards, phase, known, state))
            unclear = {callback for callback, _ in self._problems}
            if waits:
                unclear |= {callback for callback, handlers in self._guards if concern_an_update(handlers, phase)}
            self._waits = len(unclear) > len(self._problems)
            self._guards = [guard for guard in self._guards if guard[0] in unclear]
            self.over = not unclear or (bool(self._problems) and not position.resumed)
        else:
            if self._waits:
                self._problems = list(problems(self._guards, phase, asked, state, "an epoch"))
            self.over = (bool(self._problems) and not position.skipped) or (self._waits and not self._problems)
        if not self.over:
            return
        for callback, problem in self._problems:
            if not callback._is_default:
                raise CallbackError(problem)
            if (callback, type(phase)) not in self._warned:
                from loguru import logger  # needed rarely, and loaded then

                self._warned.add((callback, type(phase)))
                logger.warning(problem)


def problems(
    guards: Sequence[tuple[Callback, Sequence[Handler]]],
    phase: Phase,
    asked: Collection[type[Hook]],
    state: Mapping[str, Any],
    what: str = "a step",
) -> Iterator[tuple[Callback, str]]:
    """The guards that a phase passes by, each with what is wrong; `what` ended without it."""
    for callback, handlers in guards:
        needed = [handler.hook for handler in handlers if concerns(handler, phase)]
        problem = missing_hooks(callback, phase, needed, asked, what) or missing_entry(callback, phase, state)
        if needed and problem:
            yield callback, problem


def concern_an_update(handlers: Sequence[Handler], phase: Phase) -> bool:
    """Whether a guard has something to do in an update of a phase."""
    return any(handler.hook in OF_AN_UPDATE and concerns(handler, phase) for handler in handlers)


def concerns(handler: Handler, phase: Phase) -> bool:
    """Whether a guard's handler has to run in a phase: in those that it names, or else in every training phase."""
    if not handler.hook.phased:
        return False
    return phase.training is True if handler.phases == (Phase,) else isinstance(phase, handler.phases)


def missing_hooks(
    callback: Callback, phase: Phase, needed: Collection[type[Hook]], asked: Collection[type[Hook]], what: str
) -> str | None:
    """The problem of a phase that does not dispatch all that a guard handles."""
    names = {hook.hook for hook in asked}
    in_epoch = not names.isdisjoint(hook.hook for hook in OF_AN_EPOCH)
    missing = [
        hook
        for hook in needed
        if OF_AN_EPOCH.get(hook, hook).hook not in names and (in_epoch or hook not in OF_AN_EPOCH)
    ]
    if not missing:
        return None
    kind = type(phase).__name__
    listed = ", ".join(f"`{hook.hook}`" for hook in missing)
    calls = "".join(f"\n    handle({', '.join([hook.__name__, *hook.arguments[2:]])})" for hook in missing)
    if phase.training and not {Accumulate, *OF_AN_UPDATE}.isdisjoint(missing):
        calls = "\n    run_update(learner, self)"
    return (
        f"{callback.name} is a guard and handles {listed}, and {what} of {kind} ended without it, so nothing is "
        f"guarded there.\n"
        f"Fix: {own_fix(callback)}leave {callback.name} out, restrict its handlers to other phases in a subclass, by "
        f"an annotation of `phase`, or let {kind} do what it handles:{calls}"
    )


def own_fix(callback: Callback) -> str:
    """What a guard itself offers to the user of a phase that passes it by."""
    return f"{callback.guard_fix}\nOr " if callback.guard_fix else ""


def missing_entry(callback: Callback, phase: Phase, state: Mapping[str, Any]) -> str | None:
    """The problem of a phase whose steps do not have what a guard declares."""
    for path in callback.state_access:
        root, *below = parts(path)
        if root == "step" and below and below[0] not in state:
            kind = type(phase).__name__
            return (
                f"{callback.name} is a guard and uses `{path}`, and a step of {kind} ended without it, so "
                f"nothing is guarded there. {did_you_mean(below[0], state)}\n"
                f"Fix: let {callback.name} use an entry that these steps have, leave it out, or set the entry in "
                f"{kind}.step:\n    state.{below[0]} = ..."
            )
    return None
