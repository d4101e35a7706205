"""`Metric`: a function of outputs and targets, or an object that accumulates them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from treadle import Phase, Read
from treadle.access import Permission
from treadle.authoring import Mean, batch_weight
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_metrics.abstract_metric import AbstractMetric, Value, numbers
from treadle_metrics.accumulator import Accumulator, is_accumulator
from treadle_metrics.metric_arguments import (
    check_takes,
    checked_name,
    checked_phase,
    name_of,
    placement,
    weight_access,
)
from treadle_metrics.statistic import ByColumn

#: A weight as it is written, for messages.
EXAMPLE = "Metric(fn, weight=lambda step: (step.ys >= 0).sum())"


class Metric(AbstractMetric):
    """Measure outputs against targets at each step.

    The measure runs where the tensors are, without gradients, and nothing waits for the device.

    Args:
        fn: `fn(yhats, ys)` gives a number or a tensor with one element. Or an object with `update(yhats, ys)`,
            `compute()` and `reset()`, such as a torchmetrics one: a step's value is that of its batch, and
            the epoch's is what the object itself computes of the whole epoch. The object follows
            the outputs to their device. If either gives a dict, as torchmetrics' `MetricCollection`
            does, each entry is a column under its key.
        name: What it is recorded as, unless it gives a dict. Default: the function's or the class's name, capitalised.
        statistic: An object with `update(value)`, `compute()` and `reset()` that makes the epoch's value of
            the steps' values. Default: their mean, by `weight`; for an object as `fn`, that object.
        weight: How much the value of each batch counts in that mean: "rows", the length of the first tensor of
            `step.xs`, and all the same in a phase whose batches have none; a function of the step's state that
            returns a number, or a tensor of one element, finite and not negative; or None, all the same. A value of
            weight 0 is left out. Default: its rows.
        state_access: What a function `weight` reads. Default: `step.xs` and `step.ys`.
        device: Where to compare: a device to which both are moved; or a function of both, `device(yhats, ys)`,
            or of each, that returns them in another place or form. Default: where they are.
        phase: The type of phase in which to measure. Default: every phase.

    Reads: `step.yhats`, `step.ys`; for the weight `step.xs`, or what `state_access` says.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used as described; in a step, for a weight
            that cannot.
        MetricError: in a step, if what was measured is not a number, or if some batches of the epoch have rows and
            others have none.

    Example:
        >>> from treadle import ValidationPhase, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> mse = Metric(torch.nn.functional.mse_loss, name="Mean squared error", phase=ValidationPhase)
        >>> learner = toy_learner(Recorder(), Metrics(mse))
        >>> _ = learner.fit(1)
        >>> {phase: list(metrics) for phase, metrics in learner.cbstate.metricsepoch.items()}
        {TrainingPhase(): ['Loss'], ValidationPhase(): ['Loss', 'Mean squared error']}
    """

    state_access = {"step.yhats": Read, "step.ys": Read}

    def __init__(
        self,
        fn: Any,
        *,
        name: str | None = None,
        statistic: Any = None,
        device: Any = None,
        phase: Any = Phase,
        weight: str | Callable[[Any], Any] | None = "rows",
        state_access: Mapping[str, type[Permission]] | None = None,
    ) -> None:
        if not (is_accumulator(fn) or callable(fn)) or isinstance(fn, type):
            raise ArgumentTypeError(
                f"A metric is a function fn(yhats, ys), or an object with update, compute and reset; got {fn!r}.\n"
                f"Fix: pass one of these:\n    Metrics(accuracy, torchmetrics.F1Score(...))"
            )
        self.fn = fn
        self.name = name_of(fn) if name is None else checked_name(name, "Metric(name)")
        self.phase = checked_phase(phase)
        self.device, self.statistic = device, statistic
        self._place = None if device is None else placement(device)
        if statistic is not None and not is_accumulator(statistic):
            raise ArgumentTypeError(
                f"A statistic has update, compute and reset, got {statistic!r}.\n"
                f"Fix: pass such an object:\n    Metric({self.name.lower()}, statistic=torchmetrics.MaxMetric())"
            )
        self._measure: Callable[[Any, Any], Any] = fn
        self._accumulator: Accumulator | None = None
        self._statistic: ByColumn | None = None
        if is_accumulator(fn):
            check_takes(fn.update, f"The update of {self.name}", "yhats", "ys")
            self._accumulator = Accumulator(fn, self.name)
            self._measure = self._accumulator.step
        else:
            check_takes(fn, f"The metric {self.name}", "yhats", "ys")
        if statistic is not None:
            check_takes(statistic.update, "Metric(statistic).update", "value")
            self._statistic = ByColumn(Accumulator(statistic, self.name), self.name)
        elif self._accumulator is None:
            self._statistic = ByColumn(Mean(), self.name)
        self.weight = weight
        self._weigh = batch_weight(weight, "Metric(weight)", EXAMPLE)
        access = weight_access(weight, state_access, "Metric")
        if statistic is not None or self._accumulator is not None:
            if callable(weight):
                what = "a statistic" if statistic is not None else "an object that accumulates"
                raise ArgumentValueError(
                    f"{self.name} has {what}, which makes the value of an epoch by itself, and a `weight`.\n"
                    f"Fix: pass a function and its weight alone:\n    {EXAMPLE}"
                )
            self._weigh, access = None, {}
        self.state_access = {**Metric.state_access, **access}
        self._value: Value | None = None
        self._missed = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Its name; of a collection of torchmetrics the names of its entries."""
        collection = isinstance(self.fn, torch.nn.ModuleDict) and self._accumulator is not None
        return tuple(self.fn.keys()) if collection else (self.name,)

    def reset(self) -> None:
        self._value = None
        for part in self._parts().values():
            part.reset()

    def step(self, learner: Any, phase: Phase) -> None:
        self._value, step = None, learner.step
        if self._missed and not ("yhats" in step and "ys" in step):  # asking first costs more where they are
            return
        try:
            yhats, ys = step.yhats, step.ys
        except AttributeError:  # a phase without outputs or targets, such as one that trains a GAN
            self._missed = True
            return
        try:
            if type(yhats) is torch.Tensor:  # detaching it costs a fifth of `no_grad`
                value = self._compared(yhats.detach(), ys)
            else:
                with torch.no_grad():
                    value = self._compared(yhats, ys)
            if self._weigh is not None and self._statistic is not None:
                self._statistic.update(value, self._weigh(step))
            elif self._statistic is not None:
                self._statistic.update(value)
        except Exception as error:
            error.add_note(f"Raised by the metric {self.name!r}.")
            raise
        self._value = value

    def _compared(self, yhats: Any, ys: Any) -> Value:
        if self._place is not None:
            yhats, ys = self._place(yhats, ys)
        return numbers(self._measure(yhats, ys), self.name)

    def step_value(self) -> Value | None:
        return self._value

    def epoch_value(self) -> Value | None:
        part = self._statistic or self._accumulator
        assert part is not None
        return part.compute()

    def _parts(self) -> dict[str, Accumulator | ByColumn]:
        parts = {"accumulator": self._accumulator, "statistic": self._statistic}
        return {name: part for name, part in parts.items() if part is not None}

    def part(self) -> dict[str, Any]:
        return {name: part.part() for name, part in self._parts().items()}

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        for name, part in self._parts().items():
            part.merge([theirs[name] for theirs in parts])

    def check_mergeable(self) -> None:
        for part in self._parts().values():
            part.check_mergeable()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
