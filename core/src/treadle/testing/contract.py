"""What every callback promises: `check_callback` checks it in one call, `CallbackContract` as tests to inherit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from treadle.arguments import one_of
from treadle.callback import Callback
from treadle.errors import ArgumentValueError, did_you_mean
from treadle.ordering.observers import why_no_observer
from treadle.testing.checks import errors, init, memory, setups, training
from treadle.testing.checks.declared import access, audit, declarations, handlers
from treadle.testing.checks.equal import runners, state, watching
from treadle.testing.kinds import MakeLearner
from treadle.testing.report import (
    FAILED,
    SKIPPED,
    CallbackCheckError,
    Checked,
    CheckResult,
    Report,
    outcome,
    title_of,
)
from treadle.testing.subject import Factory, Subject, reasons

#: The checks by name, in the order in which they are made.
CHECKS: dict[str, Callable[[Subject], Checked]] = {
    "declarations": declarations.check,
    "handlers": handlers.check,
    "init": init.check,
    "training": training.check,
    "access": access.check,
    "audit": audit.check,
    "watching": watching.check,
    "state": state.check,
    "runners": runners.check,
    "errors": errors.check,
    "memory": memory.check,
    "setups": setups.check,
}

#: Where one of these fails, no learner can be built, and the others are skipped.
BASIC = ("declarations", "handlers")


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
    - `runners`: handlers in threads, or listed in another order, give the same result.
    - `errors`: an error inside of an operation reaches the user, and what was set is put back.
    - `memory`: no graph, no state of a step and no view of the learner is kept.
    - `setups`: it works without validation data, with accumulated gradients, in phases of other authors, with
      several models.

    What may be meant is a remark in the report and fails nothing: a number that is taken from a tensor in every step,
    `TrainingPhase` where `AbstractTrainingPhase` would do, gradients that are used where they may be of a part of an
    update, several models that are not supported.

    Args:
        factory: Makes the callback: its class, or a function. It is called several times.
        partners: Classes, functions or entry points' names that make callbacks it needs beside it.
        unused_ok: Declared paths, and names of handlers, that a toy training does not use, each with
            the reason. Default: none.
        skip: Names of checks to leave out, each with the reason. Default: none.
        learner: Makes the learner in place of `toy_learner` and `noisy_learner`, called as they are.
        **settings: More arguments of the learner, such as `nbatches=100`.

    Returns:
        The report, with the numbers of checks that were run and skipped, the kinds of learner that were tried, and
        whether the callback is an observer; no check has failed.

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
        (11, 1, 0)
        >>> for remark in report.remarks:
        ...     print(remark.splitlines()[0])
        on_step_end takes a number from a tensor in every step, and on an accelerator the step waits for it.
        on_step_end is called in TrainingPhase and its subclasses, and not in phases of other authors.
    """
    skipped = skips(skip or {})
    subject = Subject(factory, partners, learner, settings, unused_ok or {})
    results: list[CheckResult] = []
    for name in CHECKS:
        invalid = [result.name for result in results if result.outcome == FAILED and result.name in BASIC]
        results.append(run_check(name, subject, skipped, invalid))
    valid = not any(result.outcome == FAILED and result.name in BASIC for result in results)
    report = Report(subject.name, tuple(results), observer(subject) if valid else "")
    if report.failed or not report.run:
        raise CallbackCheckError(report)
    return report


class CallbackContract:
    """What every callback promises, as tests. Subclass it, with a name that pytest collects.

    What may be meant fails no test: pytest shows such remarks where it sums up.

    Attributes:
        partners: Classes, functions or names that make callbacks it needs beside it. Default: none.
        unused_ok: Declared paths and handlers that a toy training does not use, with the reasons.
        skip: Names of checks to leave out, with the reasons; see `check_callback`.
        learner: Makes the learner in place of `toy_learner`, as a `staticmethod`. Default: None.
        settings: More arguments of the learner. Default: none.
        remarks: Those of the check that ran last.

    Example:
        >>> from treadle.testing import CallbackContract
        >>> class TestPrinter(CallbackContract):
        ...     def make(self):
        ...         from treadle import CustomCallback, EpochEnd
        ...         return CustomCallback(lambda learner: None, EpochEnd)
        >>> TestPrinter().test_watching_changes_nothing()
    """

    partners: ClassVar[Iterable[Factory | str]] = ()
    unused_ok: ClassVar[Mapping[str, str]] = {}
    skip: ClassVar[Mapping[str, str]] = {}
    learner: ClassVar[MakeLearner | None] = None
    settings: ClassVar[Mapping[str, Any]] = {}
    remarks: Sequence[str] = ()

    def make(self) -> Callback:
        """Make the callback."""
        raise NotImplementedError(
            f"{type(self).__name__} does not define which callback it tests.\n"
            f"Fix: define it:\n    def make(self): return MyCallback()"
        )

    def check(self, name: str) -> None:
        """Run one check as a test: it fails, or is skipped with the reason, or passes, perhaps with remarks."""
        skipped = skips(self.skip)
        one_of(name, "The check", list(CHECKS))
        subject = Subject(self.make, self.partners, type(self).learner, self.settings, self.unused_ok)
        result = run_check(name, subject, skipped)
        self.remarks = [f"{subject.name}, {name}: {remark}" for remark in result.remarks]
        if result.outcome == FAILED:
            raise CallbackCheckError(Report(subject.name, (result,)))
        if result.outcome == SKIPPED:
            import pytest

            pytest.skip(f"{subject.name}, {name}: {result.detail}")

    def test_its_declarations_are_valid(self) -> None:
        """See `check_callback`; and so of the others."""
        self.check("declarations")

    def test_its_handlers_match_their_events(self) -> None:
        self.check("handlers")

    def test_on_init_can_run_again(self) -> None:
        self.check("init")

    def test_a_training_runs_and_calls_every_handler(self) -> None:
        self.check("training")

    def test_it_uses_what_it_declares(self) -> None:
        self.check("access")

    def test_it_changes_only_what_it_declares(self) -> None:
        self.check("audit")

    def test_watching_changes_nothing(self) -> None:
        self.check("watching")

    def test_its_state_survives_a_checkpoint(self) -> None:
        self.check("state")

    def test_threads_and_another_order_of_the_list_give_the_same_result(self) -> None:
        self.check("runners")

    def test_an_error_reaches_the_user_and_what_was_set_is_put_back(self) -> None:
        self.check("errors")

    def test_it_keeps_no_graph_and_no_view(self) -> None:
        self.check("memory")

    def test_it_works_in_other_setups(self) -> None:
        self.check("setups")


def skips(skip: Mapping[str, str]) -> dict[str, str]:
    """The checks to leave out, each with the reason.

    Raises:
        ArgumentTypeError, ArgumentValueError: for a name that is not a check, or without a reason.
    """
    for name in reasons(skip, "skip", "check"):
        if name not in CHECKS:
            raise ArgumentValueError(
                f"skip has {name!r}, which is not a check.\nFix: name a check. {did_you_mean(name, CHECKS)}"
            )
    return dict(skip)


def observer(subject: Subject) -> str:
    """Whether a callback only watches beside its partners, and what follows for its errors; or why not."""
    reason = why_no_observer(subject.callback, subject.make_partners())
    if reason is None:
        return 'yes; with observer_errors="warn" its errors are reported and end no fit'
    return f"no; {reason}, so its errors always end the fit"


def run_check(name: str, subject: Subject, skip: Mapping[str, str], invalid: Sequence[str] = ()) -> CheckResult:
    """Run one check, unless it is left out.

    Args:
        skip: The checks that the author leaves out, with the reasons.
        invalid: The basic checks that failed before.
    """
    check = CHECKS[name]
    reason = skip.get(name) or (f"No learner can be built with it, see `{invalid[0]}`." if invalid else None)
    if reason is not None and (name in skip or name not in BASIC):
        return CheckResult(name, title_of(check), SKIPPED, reason)
    return outcome(name, check, subject)
