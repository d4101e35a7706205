"""`AbstractMetric`: something that `Metrics` measures; what it gives as a number, and as a state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from treadle import Phase, Read
from treadle.access import Permission
from treadle.authoring import flatten, unflatten
from treadle.errors import NotSaveableError, TreadleError

#: What can be measured: a number, a tensor with one element, or some of these by the names of their columns.
Value = float | torch.Tensor | dict[str, float | torch.Tensor]


class MetricError(TreadleError, ValueError):
    """A metric gave what cannot be recorded, or got what it cannot measure."""


class AbstractMetric(ABC):
    """Something that is measured at each step and over each epoch. For most uses there is `Metric`.

    `Metrics` calls `reset` when an epoch begins, `step` and then `step_value` at the end of each step,
    and `epoch_value` at the end of the epoch. A value is a number or a tensor with one element; a
    tensor on an accelerator is best returned as it is, since making a number of it waits for the
    device. Where the value is None, nothing is recorded. A dict of values is recorded as a column for
    each of its keys.

    An epoch inside of another is measured by a deep copy, so that the values of the outer one stay.

    Attributes:
        name: What it is recorded as. Default: the class's name.
        columns: The names under which it records, as far as they are known before the first step. Default: its name.
        phase: The type of phase in which it is measured. Default: every phase.
        state_access: What `step` uses of the learner. Default: all of `step`, to read.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> class LargestError(AbstractMetric):
        ...     state_access = {"step.yhats": Read, "step.ys": Read}
        ...     def reset(self):
        ...         self.largest = 0.0
        ...     def step(self, learner, phase):
        ...         self.last = (learner.step.yhats - learner.step.ys).abs().max().item()
        ...         self.largest = max(self.largest, self.last)
        ...     def step_value(self):
        ...         return self.last
        ...     def epoch_value(self):
        ...         return self.largest
        >>> learner = toy_learner(Recorder(), Metrics(LargestError()))
        >>> _ = learner.fit(1)
        >>> steps = learner.cbstate.metricsstep[TrainingPhase()]["LargestError"].values
        >>> learner.cbstate.metricsepoch[TrainingPhase()]["LargestError"].last == (1, max(steps))
        True
    """

    phase: Any = Phase
    state_access: Mapping[str, type[Permission]] = {"step": Read}

    @property
    def name(self) -> str:
        """What it is recorded as: the class's name, unless it was set."""
        return self.__dict__.get("name") or type(self).__name__

    @name.setter
    def name(self, name: str) -> None:
        self.__dict__["name"] = name

    @property
    def columns(self) -> tuple[str, ...]:
        """The names under which it records, as far as they are known before the first step."""
        return (self.name,)

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: an epoch begins."""

    @abstractmethod
    def step(self, learner: Any, phase: Phase) -> None:
        """Measure a step that was completed, with what `state_access` declares of the learner."""

    @abstractmethod
    def step_value(self) -> Value | None:
        """The value of the step that was measured last."""

    @abstractmethod
    def epoch_value(self) -> Value | None:
        """The value of the steps that were measured since the last reset."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a run can be resumed in the middle of an epoch.

        By default all attributes that are tensors or plain values. A metric whose running state is
        anything else overrides this and `load_state_dict`.

        Raises:
            MetricError: if an attribute cannot be kept.
        """
        return attributes(self, self.name)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        set_attributes(self, state)

    def part(self) -> Any:
        """What other processes of a run need of it, before `epoch_value`. Default: its `state_dict`."""
        return self.state_dict()

    def merge(self, parts: Sequence[Any]) -> None:
        """Become what one process would have measured of the rows of all: `parts` are theirs, by their ranks.

        Raises:
            MetricError: by default, since nobody knows how.
        """
        raise not_mergeable(self.name, f"{type(self).__name__} does not define `merge`", MERGE)

    def check_mergeable(self) -> None:
        """Refuse a metric of which nobody knows how several processes put it together.

        Raises:
            MetricError: naming it.
        """
        if type(self).merge is AbstractMetric.merge:
            self.merge(())

    def __repr__(self) -> str:
        return f"<{self.name}>"


#: How a metric of one's own is combined.
MERGE = (
    "define it, of what the `state_dict` of each process has:\n"
    '    def merge(self, parts): self.hits = sum(part["hits"] for part in parts)'
)


def not_mergeable(name: str, why: str, fix: str) -> MetricError:
    """The error for a metric that several processes cannot combine."""
    return MetricError(
        f"The metric {name!r} is measured by several processes, each on its own rows, and {why}, so nobody knows the "
        f"value of all.\nFix: {fix}"
    )


def numbers(value: Any, owner: str) -> Value:
    """A measured value as it is kept: a number, see `number`, or a dict of these by the names of their columns."""
    if not isinstance(value, Mapping):
        return number(value, owner)
    for name in value:
        if not (isinstance(name, str) and name):
            raise MetricError(
                f"The metric {owner!r} gave a dict with the key {name!r}, and each key names a column.\n"
                f"Fix: return texts as keys:\n    {{'precision': 0.5, 'recall': 0.25}}"
            )
    return {name: number(item, f"{owner}[{name}]") for name, item in value.items()}


def number(value: Any, owner: str, kind: str = "metric") -> float | torch.Tensor:
    """A measured value as it is kept: a float, or a detached tensor if it is on an accelerator.

    Raises:
        MetricError: if it is not a number; the message names the metric or trace, the `owner`.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() == 1:
            return value.item() if value.is_cpu else value.detach()
        got = f"a tensor of shape {tuple(value.shape)}"
    else:
        try:
            return float(value)
        except (TypeError, ValueError):
            got = f"a {type(value).__name__}"
    parts = "Metrics(*parts)" if kind == "metric" else 'Traces({"part 1": fn_1, "part 2": fn_2})'
    raise MetricError(
        f"The {kind} {owner!r} gave {got}, and one number is recorded for each step.\n"
        f"Fix: reduce it, for example by its mean, or record its parts as separate {kind}s:\n    {parts}"
    )


def attributes(target: Any, owner: str) -> dict[str, Any]:
    """A copy of an object's attributes, apart from settings such as functions, classes and devices.

    Raises:
        MetricError: if one of them is neither a tensor nor a plain value; the message names the metric, the `owner`.
    """
    state = {}
    for name, value in vars(target).items():
        try:
            state[name] = copied(value)
        except NotSaveableError:
            if not (callable(value) or isinstance(value, (torch.device, torch.dtype))):
                raise MetricError(
                    f"A checkpoint cannot hold the state of the metric {owner!r}: `{name}` of {type(target).__name__} "
                    f"is a {type(value).__name__}, neither a tensor nor a plain value.\n"
                    f"Fix: give {type(target).__name__} the methods `state_dict` and `load_state_dict`."
                ) from None
    return state


def set_attributes(target: Any, state: dict[str, Any]) -> None:
    """Set an object's attributes to a copy of what `attributes` returned."""
    for name, value in state.items():
        setattr(target, name, copied(value))


def copied(value: Any) -> Any:
    """A copy of whatever a checkpoint can hold.

    Raises:
        NotSaveableError: for anything else.
    """
    tensors: dict[str, torch.Tensor] = {}
    made = unflatten(flatten(value, "value", tensors), tensors)
    if isinstance(value, (dict, list, tuple)) and type(made) is not type(value):
        raise NotSaveableError(
            f"A {type(value).__name__} comes back from a checkpoint as a {type(made).__name__}.\n"
            f"Fix: give what holds it the methods state_dict and load_state_dict."
        )
    return made
