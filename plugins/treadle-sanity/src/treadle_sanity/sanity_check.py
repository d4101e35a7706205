"""`SanityCheck`: look at model, data and loss before the first step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loguru import logger
from treadle import AbstractTrainingPhase, Callback, Phase, Read
from treadle.authoring import instance_of, list_of, position_of

from treadle_sanity.batch_checks import sentence
from treadle_sanity.check import Check, Failure, SanityCheckException, SkipCheck
from treadle_sanity.checks import CHECKS
from treadle_sanity.trial import shared_trials, takes_pairs

#: What is reported of a check that returns no more than False.
NOT_SO = "the check returned False."


class SanityCheck(Callback):
    """Run checks once, before the first training epoch, and report all that fail together.

    Looking leaves no trace: the first step finds random generators, modes, buffers, gradients and data
    as they were before. Nothing is taken from an iterator, which would lose its first batch. What cannot
    be checked is logged as a warning, and so are the failures of checks that only warn.

    Args:
        checks: More checks. Default: none.
        use_default: Whether `CHECKS` are run as well, before those. Default: True.

    Reads: `model`, `optimizer`, `lossfn`, `data`, `callbacks`.

    Raises:
        ArgumentTypeError: if one of the checks is not a `Check`, or `use_default` neither True nor False.
        SanityCheckException: when training begins, if checks fail that must not.

    Example:
        >>> from treadle import toy_learner
        >>> toy_learner(SanityCheck(), data=([(1, 2, 3)],)).fit(1)
        Traceback (most recent call last):
        ...
        treadle_sanity.check.SanityCheckException: 1 sanity check failed, so no step was made:
        1. Batches are pairs: data.training: the first batch is a tuple of 3.
            Fix: Let the loader yield (inputs, targets), several inputs as a tuple or a mapping:
                ((x1, x2), ys)
        ...
    """

    essential = True
    state_access = {"model": Read, "optimizer": Read, "lossfn": Read, "data": Read, "callbacks": Read}

    def __init__(self, checks: Iterable[Check] = (), use_default: bool = True) -> None:
        self.checks = list_of(checks, "SanityCheck(checks)", Check, "SanityCheck([check])")
        self.use_default = instance_of(use_default, "SanityCheck(use_default)", bool, "SanityCheck(use_default=False)")
        self.done = False

    def on_init(self, learner: Any) -> None:
        """Check again in a learner that has not trained yet: it may be another one."""
        if not learner.progress.epoch:
            self.done = False

    def on_fit_begin(self, learner: Any) -> None:
        """Run the checks here if no epoch will begin, because there are no data for it."""
        position = position_of(learner)
        for phase in () if position.length is None or position.length.nothing else position.phases:
            if not self.done and phase.training and phase.data_name not in (None, *learner.data):
                self.run(learner, phase)

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if not self.done:
            self.run(learner, phase)
            self.done = True

    def run(self, learner: Any, phase: Phase) -> None:
        """Run the checks for the phases of the fit under way, and the one that begins.

        Raises:
            SanityCheckException: if checks fail that must not.
        """
        phases = (phase, *position_of(learner).phases)
        is_supervised = any(map(takes_pairs, phases))
        failures: list[Failure] = []
        skipped: dict[str, list[str]] = {}
        with shared_trials(phases):
            for check in (*CHECKS, *self.checks) if self.use_default else self.checks:
                if check.supervised and not is_supervised:
                    continue
                try:
                    if (failure := failure_of(check, learner)) is not None:
                        failures.append(failure)
                except SkipCheck as reason:
                    skipped.setdefault(str(reason), []).append(f'"{check.name}"')
        report(failures, skipped)


def failure_of(check: Check, learner: Any) -> Failure | None:
    """Run one check."""
    try:
        result: Any = check.fn(learner)
    except SkipCheck:
        raise
    except Exception as error:
        return Failure(check, f"its function raised {sentence(error)}", error)
    if isinstance(result, str):
        return Failure(check, result)
    if result is None:
        return Failure(check, "its function returned None, neither True nor False.")
    return None if result else Failure(check, NOT_SO)


def report(failures: list[Failure], skipped: dict[str, list[str]]) -> None:
    """Log what only warns, and raise the rest. Of two checks that found the same, the latter is more exact."""
    by_cause = {failure if failure.error or failure.found == NOT_SO else failure.found: failure for failure in failures}
    distinct = list(by_cause.values())
    for reason, names in skipped.items():
        logger.warning(f"SanityCheck skipped {', '.join(names)}: {reason}.")
    for failure in distinct:
        if not failure.check.throw_error:
            logger.warning(f"SanityCheck: {failure}")
    if errors := [failure for failure in distinct if failure.check.throw_error]:
        raise SanityCheckException(errors) from errors[0].error
