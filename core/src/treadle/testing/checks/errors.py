"""Is all put back, and does an error reach the user, where an operation fails inside of its wrappers?"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from treadle.callback import Callback
from treadle.errors import CancelFittingException
from treadle.events import Hook, hookimpl
from treadle.learner import Learner
from treadle.operations import Backward, Forward, Loss, Update
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase, Phase
from treadle.testing.comparison.changes import ATTRIBUTES, RANDOM, Moment
from treadle.testing.comparison.run import Run
from treadle.testing.kinds import EPOCHS
from treadle.testing.report import Checked, DoesNotApply, Finding
from treadle.testing.subject import Subject, seeded

FIX_LEFT = (
    "put it back in a wrapper, on every way out:\n"
    "    @hookimpl(wrapper=True)\n"
    "    def {hook}(self, learner, phase: {phase}):\n"
    "        ...\n"
    "        try:\n"
    "            return (yield)\n"
    "        finally:\n"
    "            ...  # put it back"
)
FIX_SWALLOWED = (
    "raise again what a wrapper catches, and no more than it can repair:\n    except ...:\n        ...\n        raise"
)


class InjectedError(Exception):
    """Raised by a check inside of an operation."""


class InjectedInterrupt(KeyboardInterrupt):
    """Raised by a check inside of an operation, as if the user had interrupted it."""


@dataclass(frozen=True)
class Injection:
    """What is raised inside of which operation, in which phases; for None nothing is."""

    hook: type[Hook] = Forward
    phase: type[Phase] = AbstractTrainingPhase
    error: type[BaseException] | None = None

    @property
    def shown_phase(self) -> str:
        return self.phase.__name__.removeprefix("Abstract")


INJECTIONS = (
    Injection(Forward, AbstractTrainingPhase, InjectedError),
    Injection(Forward, AbstractTrainingPhase, InjectedInterrupt),
    Injection(Forward, AbstractTrainingPhase, CancelFittingException),
    Injection(Loss, AbstractTrainingPhase, InjectedError),
    Injection(Backward, AbstractTrainingPhase, InjectedError),
    Injection(Update, AbstractTrainingPhase, InjectedError),
    Injection(Forward, AbstractValidationPhase, InjectedError),
    Injection(Forward, AbstractValidationPhase, InjectedInterrupt),
)


class Around(Callback):
    """Compares the learner before and after the epochs of a phase, outside of all that other callbacks do in them."""

    def __init__(self) -> None:
        self.name = "!"  # first in the order, and so outermost
        self.learner: Learner | None = None
        self.left: dict[type[Phase], set[str]] = {AbstractTrainingPhase: set(), AbstractValidationPhase: set()}

    @hookimpl(wrapper=True)
    def epoch(self, phase: AbstractTrainingPhase | AbstractValidationPhase) -> Generator[None, Any, Any]:
        assert self.learner is not None
        before = Moment(self.learner)
        try:
            return (yield)
        finally:
            kind = AbstractTrainingPhase if isinstance(phase, AbstractTrainingPhase) else AbstractValidationPhase
            self.left[kind] |= {
                change.part.what
                for change in before.changes(Moment(self.learner), strict=False)
                if change.part.path not in (RANDOM, ATTRIBUTES)
                and not change.part.path.startswith(("cbstate", "step", "data"))
            }


class Inside(Callback):
    """Raises an error inside of an operation, within all that other callbacks put around it."""

    def __init__(self, injection: Injection) -> None:
        self.name = "\U0010ffff"  # last in the order, and so innermost
        self.injection, self.count, self.raised = injection, 0, False

    def _raise(self, hook: type[Hook], learner: Any, phase: Phase) -> None:
        injection = self.injection
        if injection.error is None or hook is not injection.hook or not isinstance(phase, injection.phase):
            return
        self.count += learner.progress.epoch == EPOCHS  # an average has a past by then
        if self.count == 2:
            self.raised = True
            raise injection.error("injected")

    @hookimpl(wrapper=True)
    def forward(self, learner: Any, phase: Phase) -> Generator[None, Any, Any]:
        self._raise(Forward, learner, phase)
        return (yield)

    @hookimpl(wrapper=True)
    def loss(self, learner: Any, phase: Phase) -> Generator[None, Any, Any]:
        self._raise(Loss, learner, phase)
        return (yield)

    @hookimpl(wrapper=True)
    def backward(self, learner: Any, phase: Phase) -> Generator[None, Any, Any]:
        self._raise(Backward, learner, phase)
        return (yield)

    @hookimpl(wrapper=True)
    def update(self, learner: Any, phase: Phase) -> Generator[None, Any, Any]:
        self._raise(Update, learner, phase)
        return (yield)


def check(subject: Subject) -> Checked:
    """An error inside of an operation reaches the user, and what was set is put back.

    How: An error, an interrupt or a cancel is raised in `forward`, `loss`, `backward` and `update`.
    Guarantee: Errors reach the user as they are, and what was set for a stretch of the loop is put back.
    Message: ... was raised inside of ... the fit went on
    Message: ... was left changed; without the error it is put back.
    """
    usual = trained(subject, Injection())[0]
    count = 0
    for injection in INJECTIONS:
        around, inside, outcome = trained(subject, injection)
        if not inside.raised:
            continue
        count += 1
        assert injection.error is not None
        what = f"{injection.error.__name__} was raised inside of `{injection.hook.hook}` in a {injection.shown_phase}"
        if not isinstance(outcome, injection.error):
            ended = "the fit went on" if outcome is None else f"the fit ended by {outcome!r}"
            raise Finding(f"{what}, and {ended}.\nFix: {FIX_SWALLOWED}")
        for name in sorted(around.left[injection.phase] - usual.left[injection.phase]):
            if not caused_by_the_end(name):
                fix = FIX_LEFT.format(hook="epoch", phase=injection.shown_phase)
                raise Finding(f"{what}, and {name} was left changed; without the error it is put back.\nFix: {fix}")
    if not count:
        raise DoesNotApply("No operation was reached, so no error could be raised inside of one.")
    return Checked(count, "errors")


def caused_by_the_end(what: str) -> bool:
    """Whether it is another after an error whatever callbacks do: the gradients of a step that was not ended."""
    return what.startswith("the gradient of ")


def trained(subject: Subject, injection: Injection) -> tuple[Around, Inside, BaseException | None]:
    """A training in which an error is raised, and what it ended by."""
    around, inside = Around(), Inside(injection)
    with seeded():
        run: Run = subject.run(around, inside)
        around.learner = run.learner
        try:
            return around, inside, run.fit(EPOCHS).result.cancelled  # type: ignore[union-attr]
        except (InjectedInterrupt, Exception) as error:
            return around, inside, error
