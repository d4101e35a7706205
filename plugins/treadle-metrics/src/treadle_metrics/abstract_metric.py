"""`AbstractMetric`: something that `Metrics` measures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from treadle import Phase, Read
from treadle.access import Permission

from treadle_metrics.attributes import attributes, put_attributes


class AbstractMetric(ABC):
    """Something that is measured at each step and over each epoch. For most uses there is `Metric`.

    `Metrics` calls `reset` when an epoch begins, `step` and then `step_value` at the end of each step,
    and `epoch_value` at the end of the epoch. A value is a number or a tensor with one element; a
    tensor on an accelerator is best returned as it is, since making a number of it waits for the
    device. None is no value, and nothing is recorded then.

    Attributes:
        name: What it is recorded as. Default: the class's name.
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

    @abstractmethod
    def reset(self) -> None:
        """Forget everything: an epoch begins."""

    @abstractmethod
    def step(self, learner: Any, phase: Phase) -> None:
        """Measure a step that came to its end.

        Args:
            learner: The learner, of which can be used what `state_access` says.
            phase: The phase.
        """

    @abstractmethod
    def step_value(self) -> float | torch.Tensor | None:
        """The value of the step that was measured last."""

    @abstractmethod
    def epoch_value(self) -> float | torch.Tensor | None:
        """The value of the steps that were measured since the last reset."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that the epoch's value can be resumed in its middle.

        By default all attributes that are tensors or plain values. A metric whose running state is
        anything else overrides this and `load_state_dict`.

        Raises:
            MetricError: if an attribute cannot be kept.
        """
        return attributes(self, self.name)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        put_attributes(self, state)

    def __repr__(self) -> str:
        return f"<{self.name}>"
