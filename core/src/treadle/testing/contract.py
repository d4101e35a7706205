"""`CallbackContract`: the checks of `check_callback` as tests that a plugin's tests inherit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from treadle.callback import Callback
from treadle.testing.checking import checked_result, skips
from treadle.testing.errors import CallbackCheckError
from treadle.testing.report import FAILED, SKIPPED, Report
from treadle.testing.subject import Factory, MakeLearner, Subject


class CallbackContract:
    """What every callback promises, as tests. Subclass it, with a name that pytest collects.

    Attributes:
        partners: Classes, functions or names that make callbacks it needs beside it. Default: none.
        unused_ok: Declared paths and handlers that a toy training does not use, with the reasons.
        skip: Names of checks to leave out, with the reasons; see `check_callback`.
        learner: Makes the learner in place of `toy_learner`, as a `staticmethod`. Default: None.
        settings: More arguments of the learner. Default: none.

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

    def make(self) -> Callback:
        """Make the callback."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say which callback it tests. Define it:\n"
            f"    def make(self): return MyCallback()"
        )

    def check(self, name: str) -> None:
        """Run one check as a test: it fails, or is skipped with the reason, or passes."""
        left_out = skips(self.skip)
        subject = Subject(self.make, self.partners, type(self).learner, self.settings, self.unused_ok)
        result = checked_result(name, subject, left_out)
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

    def test_threads_give_the_same_result(self) -> None:
        self.check("runners")
