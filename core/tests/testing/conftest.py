"""What the tests of the checks need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from treadle import Callback, Read, TrainingPhase, Write
from treadle.testing import CallbackCheckError, CheckResult, Report, check_callback
from treadle.testing.contract import run_check
from treadle.testing.subject import Subject


class Mean(Callback):
    """A callback that keeps every promise: the mean loss of all training steps."""

    state_access = {"step.loss": Read, "cbstate.mean": Write}

    def __init__(self) -> None:
        self.total, self.steps = 0.0, 0

    def on_init(self, learner: Any) -> None:
        learner.cbstate.mean = 0.0

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        self.total += learner.step.loss.item()
        self.steps += 1
        learner.cbstate.mean = self.total / self.steps

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total, self.steps = state["total"], state["steps"]


@pytest.fixture(name="Mean")
def mean_class() -> type[Mean]:
    """The class of a callback that keeps every promise: the mean loss of all training steps."""
    return Mean


@pytest.fixture
def failed() -> Callable[..., dict[str, str]]:
    """A function that gives what `check_callback` finds, by the name of the check."""

    def findings(factory: Callable[[], Callback], **options: Any) -> dict[str, str]:
        with pytest.raises(CallbackCheckError) as caught:
            check_callback(factory, **options)
        return {result.name: result.detail for result in caught.value.report.results if result.outcome == "failed"}

    return findings


@pytest.fixture
def skipped() -> Callable[[Report], dict[str, str]]:
    """A function that gives the reasons of a report's skipped checks, by the name of the check."""
    return lambda report: {result.name: result.detail for result in report.results if result.outcome == "skipped"}


@pytest.fixture
def found() -> Callable[..., CheckResult]:
    """A function that makes one check of a callback, in small trainings, and gives the outcome."""

    def result(factory: Callable[[], Callback], check: str, **options: Any) -> CheckResult:
        return run_check(check, Subject(factory, settings={"nbatches": 4}, **options), {})

    return result
