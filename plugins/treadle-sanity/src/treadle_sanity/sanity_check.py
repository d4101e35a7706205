"""`SanityCheck`: look at model, data and loss before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loguru import logger
from treadle import AbstractTrainingPhase, Callback, Phase, Read, TrainingPhase
from treadle.authoring import position_of
from treadle.errors import ArgumentTypeError

from treadle_sanity.batch_checks import told
from treadle_sanity.check import Check, Failure
from treadle_sanity.checks import CHECKS
from treadle_sanity.errors import SanityCheckException, SkipCheck
from treadle_sanity.trial import shared_trials

#: What is told of a check that says no more than False.
UNTOLD = "that is not so."

QUOTED = '", "'


class SanityCheck(Callback):
    """Run checks once, before the first training epoch, and report all that fail together.

    Looking leaves no trace: random generators, modes, buffers, gradients and data are found by the
    first step as they were before. From an iterator, which would lose its first batch, nothing is
    taken; what cannot be told for such a reason is said in the log. So are the failures of checks
    that only warn.

    Args:
        checks: More checks. Default: none.
        use_default: Whether `CHECKS` are run as well, before those. Default: True.

    Reads: `model`, `optimizer`, `lossfn`, `data`, `callbacks`.
    Writes: nothing.

    Raises:
        ArgumentTypeError: if one of the checks is no `Check`.
        SanityCheckException: when training begins, if checks fail that must not.

    Example:
        >>> from treadle import toy_learner
        >>> toy_learner(SanityCheck(), data=([(1, 2, 3)],)).fit(1)
        Traceback (most recent call last):
        ...
        treadle_sanity.errors.SanityCheckException: 1 sanity check failed, so no step was made:
        1. Batches are pairs: data.training: the first batch is a tuple of 3.
            Fix: Let the loader yield (inputs, targets), several inputs as a tuple or a mapping: ((x1, x2), ys).
        ...
    """

    state_access = {
        "model": Read,
        "optimizer": Read,
        "lossfn": Read,
        "data": Read,
        "callbacks": Read,
    }

    def __init__(self, checks: Iterable[Check] = (), use_default: bool = True) -> None:
        if isinstance(checks, Check):
            raise ArgumentTypeError("SanityCheck takes a list of checks, got one Check: SanityCheck([check])")
        own = tuple(checks)
        for check in own:
            if not isinstance(check, Check):
                raise ArgumentTypeError(
                    f"SanityCheck takes checks, got {check!r}: SanityCheck([Check(fn, name, throw_error, message)])"
                )
        self.checks = (*CHECKS, *own) if use_default else own
        self.done = False

    def on_fit_begin(self, learner: Any) -> None:
        """Run the checks here if there will be no epoch to begin, since there are no data for it."""
        position = position_of(learner)
        for phase in position.phases if position.n else ():
            if not self.done and phase.training and phase.data_name not in (None, *learner.data):
                self.run(learner, phase)

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if not self.done:
            self.run(learner, phase)
            self.done = True

    def run(self, learner: Any, phase: Phase) -> None:
        """Run the checks.

        Args:
            learner: The learner.
            phase: The phase that begins.

        Raises:
            SanityCheckException: if checks fail that must not.
        """
        steps_as_usual = type(phase).step is TrainingPhase.step
        failures: list[Failure] = []
        skipped: dict[str, list[str]] = {}
        with shared_trials():
            for check in self.checks:
                if check.supervised and not steps_as_usual:
                    continue
                try:
                    if (failure := failure_of(check, learner)) is not None:
                        failures.append(failure)
                except SkipCheck as reason:
                    skipped.setdefault(str(reason), []).append(check.name)
        report(failures, skipped)


def failure_of(check: Check, learner: Any) -> Failure | None:
    """Run one check."""
    try:
        answer: Any = check.fn(learner)
    except SkipCheck:
        raise
    except Exception as error:
        return Failure(check, f"its function raised {told(error)}", error)
    if isinstance(answer, str):
        return Failure(check, answer)
    if answer is None:
        return Failure(check, "its function returned None, neither True nor False.")
    return None if answer else Failure(check, UNTOLD)


def report(failures: list[Failure], skipped: dict[str, list[str]]) -> None:
    """Log what only warns, and raise the rest. Of two checks that found the same, the latter tells more."""
    alike = {failure if failure.error or failure.found == UNTOLD else failure.found: failure for failure in failures}
    distinct = list(alike.values())
    for reason, names in skipped.items():
        logger.warning(f'SanityCheck left out "{QUOTED.join(names)}": {reason}.')
    for failure in distinct:
        if not failure.check.throw_error:
            logger.warning(f"SanityCheck: {failure}")
    if errors := [failure for failure in distinct if failure.check.throw_error]:
        raise SanityCheckException(errors) from errors[0].error
