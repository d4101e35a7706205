"""`check_callback`: does a callback keep what callbacks promise?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from treadle.errors import ArgumentValueError, did_you_mean
from treadle.testing.checks import BASIC, CHECKS, run_check, title
from treadle.testing.errors import CallbackCheckError
from treadle.testing.report import FAILED, SKIPPED, CheckResult, Report
from treadle.testing.subject import Factory, MakeLearner, Subject, reasons


def check_callback(
    factory: Factory,
    *,
    partners: Iterable[Factory | str] = (),
    unused_ok: Mapping[str, str] | None = None,
    skip: Mapping[str, str] | None = None,
    learner: MakeLearner | None = None,
    **settings: Any,
) -> Report:
    """Check that a callback keeps what callbacks promise: the guarantees, as far as they are about one callback.

    - `declarations`: `state_access` and `run_after` are valid, and what it reads of `cbstate` has a writer.
    - `handlers`: each handler is that of an event or operation, with its arguments and phases.
    - `init`: `on_init` can run again and changes nothing more.
    - `training`: a training with validation runs, and every handler is called.
    - `access`: every declared path is used, a `Write` is written, and nothing else is used.
    - `audit`: what is not declared `Write` stays as it was, also in place.
    - `watching`: without a `Write` outside of `cbstate`, the weights are the same bits with and without it.
    - `state`: what a checkpoint keeps is plain, and a new callback that takes it over decides and records the same.
    - `runners`: handlers in threads give the same result.

    Args:
        factory: Makes the callback: its class, or a function. It is called several times.
        partners: Classes, functions or entry points' names that make callbacks it needs beside it.
        unused_ok: Declared paths, and names of handlers, that a toy training does not use, each with
            the reason. Default: none.
        skip: Names of checks to leave out, each with the reason. Default: none.
        learner: Makes the learner in place of `toy_learner` and `noisy_learner`, called as they are.
        **settings: More arguments of the learner, such as `nbatches=100`.

    Returns:
        The report, with the numbers of checks that were run and skipped; none has failed.

    Raises:
        CallbackCheckError: if a check fails; its message is the report.
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used, such as a skip without a reason.

    Example:
        >>> from treadle import Callback, Read, TrainingPhase
        >>> class Peak(Callback):
        ...     "Keep the highest loss."
        ...     state_access = {"step.loss": Read}
        ...     highest = float("-inf")
        ...     def on_step_end(self, learner, phase: TrainingPhase):
        ...         self.highest = max(self.highest, learner.step.loss.item())
        ...     def state_dict(self):
        ...         return {"highest": self.highest}
        ...     def load_state_dict(self, state):
        ...         self.highest = state["highest"]
        >>> report = check_callback(Peak)
        >>> report.run, report.skipped, report.failed
        (8, 1, 0)
    """
    left_out = skips(skip or {})
    subject = Subject(factory, partners, learner, settings, unused_ok or {})
    results: list[CheckResult] = []
    for name in CHECKS:
        unsound = [result.name for result in results if result.outcome == FAILED and result.name in BASIC]
        results.append(checked_result(name, subject, left_out, unsound))
    report = Report(subject.name, tuple(results))
    if report.failed:
        raise CallbackCheckError(report)
    return report


def skips(skip: Mapping[str, str]) -> dict[str, str]:
    """The checks to leave out, each with the reason.

    Raises:
        ArgumentTypeError, ArgumentValueError: if there is no such check, or no reason.
    """
    left_out = reasons(skip, "skip", "check")
    for name in left_out:
        if name not in CHECKS:
            raise ArgumentValueError(
                f"skip leaves out {name!r}, and there is no such check. {did_you_mean(name, CHECKS)}"
            )
    return left_out


def checked_result(
    name: str, subject: Subject, left_out: Mapping[str, str], unsound: Sequence[str] = ()
) -> CheckResult:
    """The result of a check, or the reason why it is left out: by its author, or because one before it failed."""
    if name in left_out:
        return CheckResult(name, title(name), SKIPPED, left_out[name])
    if unsound and name not in BASIC:
        return CheckResult(name, title(name), SKIPPED, f"no learner can be built with it, see {unsound[0]}.")
    return run_check(name, subject)
