"""`Run`: a training with a callback, to be compared with another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from treadle.access import Read, Write, accesses
from treadle.callback import Callback
from treadle.errors import NotSaveableError
from treadle.learner import Learner
from treadle.loop.result import FitResult
from treadle.phases import TrainingPhase
from treadle.state.run.entries import capture
from treadle.state.run.values import flatten, unflatten
from treadle.testing.frozen import frozen, same
from treadle.testing.report import Finding


class Trail(Callback):
    """Keeps what the parameters were after each training step."""

    state_access = {"params": Read}

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        self.steps.append([parameter.detach().clone() for parameter in _flat(learner.params)])


def _flat(params: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    for value in params.values():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield value


@dataclass
class Run:
    """A training with a callback, or for comparison without it.

    Args:
        callback: The callback, or None if it was left out.
        trail: The parameters after each step.
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
        for name, value in before.items():
            if not same(value, after[name]):
                raise Finding(f"{what}, {name} differ at the end.\nFix: {fix}")

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
        # A callback that ends a fit at a step's end may run before the trail, which then lacks the last step.
        steps = self.trail.steps[: self.learner.progress.steps - 1]
        entries = {
            f"the contents of `{path}`": capture({path: entry(self.learner.cbstate, path)})
            for path in written(self.callback)
        }
        weights = [model.state_dict() for model in self.learner.models]
        found = {"the weights": [steps, weights], "the values of state_dict": self.callback.state_dict(), **entries}
        return {name: frozen(as_saved(value)) for name, value in found.items()}


def written(callback: Callback) -> list[str]:
    """The entries of `cbstate` that a callback declares `Write`."""
    return sorted(path for path in accesses(callback, Write) if path.startswith("cbstate."))


def entry(cbstate: Mapping[str, Any], path: str) -> Any:
    """What is at a path below `cbstate`, or None."""
    value: Any = cbstate
    for name in path.split(".")[1:]:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def as_saved(value: Any) -> Any:
    """A value as it comes back from a checkpoint: a number of NumPy as one of Python. If it cannot be saved, itself."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        return unflatten(flatten(value, "value", tensors), tensors)
    except NotSaveableError:
        return value
