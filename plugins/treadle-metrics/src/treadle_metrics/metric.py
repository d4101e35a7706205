"""`Metric`: a function of outputs and targets, or an object that accumulates them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from treadle import Phase, Read
from treadle.errors import ArgumentTypeError

from treadle_metrics.abstract_metric import AbstractMetric, number
from treadle_metrics.accumulator import Accumulator, is_accumulator
from treadle_metrics.statistic import Mean


class Metric(AbstractMetric):
    """Measure outputs against targets at each step.

    The measure runs where the tensors are, without gradients, and nothing waits for the device.

    Args:
        fn: `fn(yhats, ys)` gives a number or a tensor with one element. Or an object with `update(yhats, ys)`,
            `compute()` and `reset()`, such as a torchmetrics one: a step's value is that of its batch, and
            the epoch's is what the object itself computes of the whole epoch. The object follows
            the outputs to their device.
        name: What it is recorded as. Default: the function's or the class's name, capitalised.
        statistic: An object with `update(value)`, `compute()` and `reset()` that makes the epoch's value of
            the steps' values. Default: their plain mean; for an object as `fn`, that object.
        device: Where to compare: a device to which both are moved; or a function of both, `device(yhats, ys)`,
            or of each, that returns them in another place or form. Default: where they are.
        phase: The type of phase in which to measure. Default: every phase.

    Reads: `step.yhats`, `step.ys`.

    Raises:
        ArgumentTypeError: if an argument cannot be used as described.
        MetricError: in a step, if what was measured is not a number.

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
        self, fn: Any, *, name: str | None = None, statistic: Any = None, device: Any = None, phase: Any = Phase
    ) -> None:
        if not (is_accumulator(fn) or callable(fn)) or isinstance(fn, type):
            raise ArgumentTypeError(
                f"A metric is a function fn(yhats, ys), or an object with update, compute and reset; got {fn!r}.\n"
                f"Fix: pass one of these:\n    Metrics(accuracy, torchmetrics.F1Score(...))"
            )
        self.fn = fn
        self.name = name_of(fn) if name is None else name
        self.phase = checked_phase(phase)
        self._place = None if device is None else placement(device)
        if statistic is not None and not is_accumulator(statistic):
            raise ArgumentTypeError(
                f"A statistic has update, compute and reset, got {statistic!r}.\n"
                f"Fix: pass such an object:\n    Metric({self.name.lower()}, statistic=torchmetrics.MaxMetric())"
            )
        self._measure: Callable[[Any, Any], Any] = fn
        self._parts: dict[str, Accumulator | Mean] = {}
        if is_accumulator(fn):
            self._parts["accumulator"] = accumulator = Accumulator(fn, self.name)
            self._measure = accumulator.step
        if statistic is not None:
            self._parts["statistic"] = Accumulator(statistic, self.name)
        elif not self._parts:
            self._parts["statistic"] = Mean()
        self._statistic = self._parts.get("statistic")
        self._value: float | torch.Tensor | None = None
        self._missed = False

    def reset(self) -> None:
        self._value = None
        for part in self._parts.values():
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
            if self._statistic is not None:
                self._statistic.update(value)
        except Exception as error:
            error.add_note(f"Raised by the metric {self.name!r}.")
            raise
        self._value = value

    def _compared(self, yhats: Any, ys: Any) -> float | torch.Tensor:
        if self._place is not None:
            yhats, ys = self._place(yhats, ys)
        return number(self._measure(yhats, ys), self.name)

    def step_value(self) -> float | torch.Tensor | None:
        return self._value

    def epoch_value(self) -> float | torch.Tensor | None:
        *_, last = self._parts.values()  # the statistic, unless the accumulator is the only part
        return last.compute()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def name_of(fn: Any) -> str:
    """The name of a function or an object's class, capitalised; a lambda is refused."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name: str = getattr(fn, "__name__", type(fn).__name__)
    if name == "<lambda>":
        raise ArgumentTypeError(
            "A lambda has no name to be recorded as.\n"
            'Fix: name the metric:\n    Metric(lambda yhats, ys: ..., name="Error")'
        )
    return name[:1].upper() + name[1:]


def checked_phase(phase: Any) -> Any:
    """The argument, which is a type of phase, or a union or tuple of some."""
    try:
        isinstance(None, phase)
    except TypeError:
        kind = type(phase).__name__ if isinstance(phase, Phase) else "ValidationPhase"
        raise ArgumentTypeError(
            f"phase is a type of phase, got {phase!r}.\nFix: pass the class:\n    phase={kind}"
        ) from None
    return phase


def placement(device: Any) -> Callable[[Any, Any], Any]:
    """A function that brings outputs and targets where they are compared; see `Metric`."""
    if callable(device):
        try:
            inspect.signature(device).bind(None, None)
        except TypeError:  # it does not take two
            return lambda yhats, ys: (device(yhats), device(ys))
        except ValueError:  # some built-in functions have no signature
            pass
        function: Callable[[Any, Any], Any] = device
        return function
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentTypeError(
            f"device is a device or a function of (yhats, ys), got {device!r}.\nFix: pass one of these:\n"
            f'    device="cpu"\n    device=lambda yhats, ys: (yhats.softmax(1), ys)'
        ) from error
    return lambda yhats, ys: (moved(yhats, target), moved(ys, target))


def moved(value: Any, device: torch.device) -> Any:
    """The tensors in a value, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: moved(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [moved(item, device) for item in value]
    return value
