"""`Run`: a training with a callback, to be compared with another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from treadle.access import Read
from treadle.callback import Callback
from treadle.errors import NotSaveableError
from treadle.learner import Learner
from treadle.loop.progress import FitResult
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase
from treadle.state.propdict import PropDict, by_name, named, named_tensors
from treadle.state.run.entries import capture
from treadle.state.run.values import flatten, unflatten
from treadle.testing.comparison.frozen import frozen, same
from treadle.testing.report import Finding


class Trail(Callback):
    """Keeps what a training gave: the parameters after each step, and what each step of validation gave.

    Attributes:
        begun: The number of training steps that began.
    """

    state_access = {"params": Read, "step.loss": Read, "step.yhats": Read}

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []
        self.validation: list[list[torch.Tensor]] = []
        self.begun = 0

    def on_step_begin(self, phase: AbstractTrainingPhase) -> None:
        self.begun += 1

    def on_step_end(self, learner: Any, phase: AbstractTrainingPhase | AbstractValidationPhase) -> None:
        if isinstance(phase, AbstractTrainingPhase):
            self.steps.append([parameter.detach().clone() for _, parameter in named_tensors(learner.params)])
        else:
            values = [learner.step[name] for name in ("loss", "yhats") if name in learner.step]
            self.validation.append([value.detach().clone() for value in values if isinstance(value, torch.Tensor)])

    def copy(self) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]], int]:
        """What there is by now."""
        return list(self.steps), list(self.validation), self.begun


@dataclass
class Run:
    """A training with a callback, or for comparison without it.

    Args:
        callback: The callback, or None if it was left out.
        trail: What the training gave.
        result: How the last fit ended; None before the first.
    """

    learner: Learner
    callback: Callback | None
    partners: list[Callback]
    trail: Trail
    result: FitResult | None = None

    @property
    def members(self) -> list[Callback]:
        """The callback and its partners."""
        return [*([self.callback] if self.callback is not None else []), *self.partners]

    def fit(self, n: int) -> Run:
        """Train for `n` epochs."""
        self.result = self.learner.fit(n)
        return self

    def compare(self, other: Run, what: str, fix: str) -> None:
        """Raise a finding if another run ended differently.

        Args:
            what: What the other run did differently, at the start of a sentence: "With threads".
            fix: What the author of the callback can do about it.
        """
        assert self.callback is not None
        assert other.callback is not None
        if self._end != other._end:
            raise Finding(f"{what}, the fit ended {other._end} instead of {self._end}.\nFix: {fix}")
        before, after = self._results(), other._results()
        for name in {**before, **after}:
            if not same(before.get(name), after.get(name)):
                raise Finding(f"{what}, {name} differ{'s' if name.startswith('what ') else ''} at the end.\nFix: {fix}")

    @property
    def _end(self) -> str:
        """How far the training came and how it ended, in words."""
        progress = self.learner.progress
        cancelled = self.result.cancelled if self.result is not None else None
        reason = f" (cancelled: {cancelled})" if cancelled is not None else ""
        return f"after {progress.epochs} epochs and {progress.steps} steps{reason}"

    def _results(self) -> dict[str, Any]:
        """Frozen copies of what the training ended with, by name."""
        assert self.callback is not None
        learner, trail = self.learner, self.trail
        stopped = self.result is not None and self.result.cancelled is not None
        last = learner.progress.steps - 1 if stopped else None  # the step in which it was cancelled may be missing
        entries = {f"the contents of `{path}`": capture({path: value}) for path, value in leaves(learner.cbstate)}
        optimizers = {name: part.state_dict() for name, part in by_name(learner.optimizer).items()}
        found = {
            "the weights": [trail.steps[:last], [model.state_dict() for model in learner.models]],
            "what validation gave": trail.validation,
            "the states of the optimizers": optimizers,
            "the modes of the modules": [[part.training for part in model.modules()] for model in learner.models],
            "the values of state_dict": self.callback.state_dict(),
            **entries,
        }
        return {name: frozen(as_saved(value)) for name, value in found.items()}


def leaves(state: Mapping[str, Any], path: str = "cbstate") -> list[tuple[str, Any]]:
    """The entries of `cbstate`, by their paths, down to what is not a `PropDict`."""
    found = []
    for name, value in named(state).items():
        where = f"{path}.{name}"
        found += leaves(value, where) if isinstance(value, PropDict) else [(where, value)]
    return found


def as_saved(value: Any) -> Any:
    """A value as it comes back from a checkpoint: a number of NumPy as one of Python. If it cannot be saved, itself."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        return unflatten(flatten(value, "value", tensors), tensors)
    except NotSaveableError:
        return value
