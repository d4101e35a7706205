"""`Watch`: what `EarlyStopping` looks at in a fit, and what it has seen there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any

from treadle import Phase
from treadle.authoring import OpenEpochs, model_state, phase_key
from treadle.errors import ArgumentValueError

from treadle_stopping.criterion import Criterion
from treadle_stopping.losses import StepLosses
from treadle_stopping.stopper import EarlyStopper

#: The depth of a fit that is not under way: no fit is inside of it.
ENDED = sys.maxsize

#: What is saved of a `Watch` as it is.
PLAIN = ("before", "earlier", "phase", "training", "stand_in", "seen", "ended", "best", "best_weights")


class Watch:
    """What `EarlyStopping` looks at in a fit, and what it has seen there.

    Args:
        criterion: All criteria as one.
        depth: How deep in the loop the fit begins: another fit, inside of a handler, begins deeper.
        before: The number of the last epoch before the fit.

    Attributes:
        earlier: How many epochs, or validations, there were in fits before this one that it goes on from.
        phase: The key of the phase whose values are looked at; empty while there is none.
        stand_in: Whether that is a training phase, because the fit has no test phase of its own.
        training: The key of the phase whose steps give the training losses; empty while there is none.
        best: The best value, of which lower is better, or None.
        best_weights: The models' states at that value, if they are kept.
        seen: Whether any value came.
        ended: Whether an epoch ended at whose end it looked for one.
        epochs: The losses of the epochs that are under way.
    """

    def __init__(self, criterion: Criterion, depth: int = ENDED, before: int = 0) -> None:
        self.stopper = EarlyStopper(criterion, strict=False)
        self.depth, self.before, self.earlier = depth, before, 0
        self.phase = self.training = ""
        self.stand_in = self.seen = self.ended = False
        self.best: float | None = None
        self.best_weights: dict[str, Any] | None = None
        self.epochs: OpenEpochs[StepLosses] = OpenEpochs()

    def choose(self, phases: Iterable[Phase], train_phase: type[Phase], test_phase: type[Phase]) -> None:
        """Choose what is looked at among the phases of a fit.

        Raises:
            ArgumentValueError: if there are several, whose values could not be compared, or none.
        """
        phases = tuple(phases)
        tests = distinct(phases, test_phase)
        trainings = distinct(phases, train_phase)
        if not (tests or trainings) and all(type(phase).epoch is Phase.epoch for phase in phases):
            raise ArgumentValueError(
                f"EarlyStopping looks at phases of the type {test_phase.__name__} or else {train_phase.__name__}, and "
                f"this fit has only {listed(phases)}.\nFix: name the type of phase to look at:\n"
                f"    EarlyStopping(..., test_phase={type(phases[0]).__name__})"
            )
        if self.stopper.criterion.compares_training and len(trainings) > 1:
            raise several("training losses of", "train_phase", trainings)
        if len(tests or trainings) > 1:
            raise several("values of", "test_phase", tests or trainings)
        self.phase = "".join(map(phase_key, tests or trainings))
        self.training = phase_key(trainings[0]) if len(trainings) == 1 else ""
        self.stand_in = not tests

    def turn_to(self, phase: Phase) -> None:
        """Look at a test phase from now on, whose epochs run inside of those of training."""
        self.phase, self.stand_in = phase_key(phase), False
        if self.seen:
            self.stopper.forget_losses()
            self.best = self.best_weights = None

    def see(self, value: float, learner: Any, *, keep_weights: bool) -> None:
        """Take a value, lower is better; keep it if it is the best, with the weights on request."""
        self.stopper.update(value)
        if not isfinite(value) or (self.best is not None and value >= self.best):
            return
        self.best = value
        if keep_weights:
            self.best_weights = None  # first, so that there are never two copies
            self.best_weights = model_state(learner.model)

    def state_dict(self) -> dict[str, Any]:
        return {
            "stopper": self.stopper.state_dict(),
            "epochs": [losses.state_dict() for losses in self.epochs.values()],
            **{name: getattr(self, name) for name in PLAIN},
        }

    def load_state_dict(self, state: dict[str, Any], weigh: Callable[[Any], Any] | None = None) -> None:
        self.stopper.load_state_dict(state["stopper"])
        self.epochs.load(StepLosses.loaded(saved, weigh) for saved in state["epochs"])
        for name in PLAIN:
            setattr(self, name, state[name])


def distinct(phases: Iterable[Phase], kind: type[Phase]) -> tuple[Phase, ...]:
    """The phases of a kind, of equal ones the first."""
    return tuple({phase_key(phase): phase for phase in phases if isinstance(phase, kind)}.values())


def listed(phases: Iterable[Phase]) -> str:
    """The phases in a sentence."""
    return " and ".join(map(repr, phases))


def check_disjoint(train_phase: type[Phase], test_phase: type[Phase]) -> None:
    """Refuse types of phases of which a phase could be both."""
    if issubclass(train_phase, test_phase) or issubclass(test_phase, train_phase):
        both = train_phase if issubclass(train_phase, test_phase) else test_phase
        raise ArgumentValueError(
            f"EarlyStopping(train_phase={train_phase.__name__}, test_phase={test_phase.__name__}) overlap: the losses "
            f"of a {both.__name__} would be of training and out of sample at once.\n"
            f"Fix: pass two types that have no phase in common; to look at training in place of validation:\n"
            f"    EarlyStopping(..., train_phase=AbstractValidationPhase, test_phase=AbstractTrainingPhase)"
        )


def several(what: str, argument: str, phases: tuple[Phase, ...]) -> ArgumentValueError:
    """The error for a fit in which values of several phases would be compared with each other."""
    return ArgumentValueError(
        f"EarlyStopping would compare {what} {listed(phases)} with each other.\n"
        f"Fix: choose one of them:\n    EarlyStopping(..., {argument}={type(phases[0]).__name__})"
    )
