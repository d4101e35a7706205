"""`LogRun`: log what a run is, its settings and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle import Learner
from treadle.authoring import plan_of

from treadle_logging.backend import LoggerBackend
from treadle_logging.hyperparams import HyperParams
from treadle_logging.loggable import File
from treadle_logging.logger import Logger
from treadle_logging.outlet import Entry


class LogRun(Logger):
    """Log the settings of a run and its plan, when its first fit begins and when they have changed since.

    The tags are `HParams` and `Plan`, the iteration is the number of training steps that were done. The plan is
    `learner.plan()`, as a file `plan.txt`.

    Args:
        *backends: Where to log.
        hyperparams: What you want to compare runs by: a mapping of names to numbers, texts or booleans. Default: none.
        strict: Whether a backend that fails ends the training. Default: False.

    Raises:
        ArgumentTypeError: if a backend is not one, or `hyperparams` not such a mapping.
        ArgumentValueError: without a backend.

    Example:
        >>> from pathlib import Path
        >>> from treadle import toy_learner
        >>> from treadle_logging import CSVBackend
        >>> logger = LogRun(CSVBackend("run.csv"), hyperparams={"lr": 0.001})
        >>> _ = toy_learner(logger).fit(1)
        >>> print(Path("run.csv").read_text())  # which holds no files, and says so
        tag,iteration,value
        HParams/lr,0,0.001
    """

    def __init__(
        self, *backends: LoggerBackend, hyperparams: Mapping[str, Any] | None = None, strict: bool = False
    ) -> None:
        super().__init__(*backends, strict=strict)
        self.hyperparams = None if hyperparams is None else HyperParams(hyperparams)
        self._settings: dict[str, Any] = {}  # those that were logged
        self._plan: str | None = None  # the digest of the plan that was logged

    def on_fit_begin(self, learner: Learner) -> None:  # type: ignore[override]  # pluggy passes what is asked for
        super().on_fit_begin()
        plan, step = plan_of(learner), learner.progress.steps
        entries: list[Entry] = []
        if self.hyperparams is not None and self.hyperparams.data != self._settings:
            entries.append((self.hyperparams, "HParams", step, ()))
            self._settings = dict(self.hyperparams.data)
        if plan.digest != self._plan:
            entries.append((File("plan.txt", str(plan)), "Plan", step, ()))
            self._plan = plan.digest
        self.send(entries)

    def state_dict(self) -> dict[str, Any]:
        """Where the logs end, and what was logged."""
        state = super().state_dict()
        return {**state, "settings": self._settings, "plan": self._plan} if state else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._settings, self._plan = dict(state.get("settings", {})), state.get("plan")
