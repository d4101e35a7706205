"""`TorchSchedule`: one of torch's own learning rate schedulers as a schedule."""

from __future__ import annotations

import math
import warnings
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from treadle_schedule.schedule import Must, Schedule, ScheduleError, ScheduleRangeError, check, is_number, longer


def _are_numbers(value: object) -> bool:
    return bool(value) and all(map(is_number, value)) if isinstance(value, tuple) else is_number(value)


Numbers = Annotated[float | tuple[float, ...], Must("a finite number, or one for each parameter group", _are_numbers)]


@dataclass(frozen=True, init=False)
class TorchSchedule(Schedule):
    """The learning rate that one of torch's schedulers would set, by the number of the step.

    The scheduler steps an optimizer of its own, with parameters that are never trained; the learner's
    optimizer is not touched. The values are kept, so each step of the scheduler is made once.

    Args:
        scheduler: A class of `torch.optim.lr_scheduler`, or any callable from an optimizer to a scheduler.
        start: The learning rate that the scheduler finds in its optimizer; or a list with one for each parameter
            group, and then every value is a tuple with one for each.
        **options: Passed on to `scheduler`.

    Attributes:
        momentum: The momentum that the scheduler would set, for those that cycle it as well, as a schedule.

    Raises:
        ScheduleError: if no scheduler can be made, or one that follows a metric.
        ScheduleRangeError: if it is called with a step past the end of the scheduler, as `OneCycleLR` has one.

    Example:
        >>> from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, OneCycleLR
        >>> s = TorchSchedule(ExponentialLR, start=0.1, gamma=0.5)
        >>> [s(t) for t in (1, 2, 3)]
        [0.1, 0.05, 0.025]
        >>> s = TorchSchedule(LambdaLR, start=[0.1, 1.0], lr_lambda=[lambda i: 1.0, lambda i: 0.5**i])
        >>> [s(t) for t in (1, 2, 3)]
        [(0.1, 1.0), (0.1, 0.5), (0.1, 0.25)]
        >>> s = TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=10)
        >>> [round(s.momentum(t), 3) for t in (1, 4, 10)]
        [0.95, 0.855, 0.95]
    """

    scheduler: Callable[..., LRScheduler]
    start: Numbers
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __init__(
        self, scheduler: Callable[..., LRScheduler], *, start: float | Sequence[float], **options: Any
    ) -> None:
        start = tuple(start) if isinstance(start, list | tuple) else start
        vars(self).update(scheduler=scheduler, start=start, options=options)
        check(type(self), vars(self))
        if not callable(scheduler):
            raise ScheduleError(f"TorchSchedule: {scheduler!r} is not a class or a function.\n{EXAMPLE}")
        _ = self._run  # so that it is refused here and not in a step

    @property
    def length(self) -> float:
        return float(getattr(self._run.scheduler, "total_steps", math.inf))

    @property
    def cycles_momentum(self) -> bool:
        """Whether the scheduler sets the momentum as well."""
        return self._run.cycles_momentum

    @property
    def momentum(self) -> TorchMomentum:
        if not self.cycles_momentum:
            raise ScheduleError(
                f"{self} sets no momentum.\nFix: take a scheduler that does:\n"
                f"    TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=100).momentum"
            )
        return TorchMomentum(self)

    def at(self, t: int) -> float | tuple[float, ...]:
        return self._value(self._run.rates, t)

    def _value(self, values: array[float], t: int) -> float | tuple[float, ...]:
        try:
            self._run.go_to(t)
        except Exception as error:  # such as that of a OneCycleLR inside of another scheduler
            raise ScheduleRangeError(
                f"{self} has no value for step {t}: {type(error).__name__}: {error}\nFix: {longer(t - 1)}"
            ) from error
        n = self._run.ngroups
        return tuple(values[(t - 1) * n : t * n]) if isinstance(self.start, tuple) else values[t - 1]

    @cached_property
    def _run(self) -> Run:
        return Run(self)

    def __repr__(self) -> str:
        scheduler = getattr(self.scheduler, "__name__", repr(self.scheduler))
        start = list(self.start) if isinstance(self.start, tuple) else self.start
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"TorchSchedule({scheduler}, start={start}{options})"


@dataclass(frozen=True)
class TorchMomentum(Schedule):
    """The momentum that one of torch's schedulers would set. Made by `TorchSchedule.momentum`.

    Args:
        schedule: That of the learning rate.
    """

    schedule: TorchSchedule

    @property
    def length(self) -> float:
        return self.schedule.length

    def at(self, t: int) -> float | tuple[float, ...]:
        return self.schedule._value(self.schedule._run.momenta, t)


#: A momentum that no scheduler sets. Those that cycle it insist on finding one.
UNTOUCHED = 0.123456789

EXAMPLE = (
    "Fix: pass a class or a function from an optimizer to a scheduler:\n"
    "    TorchSchedule(ExponentialLR, start=0.1, gamma=0.9)"
)


class Run:
    """An optimizer with its scheduler, and the values up to where the two are.

    Attributes:
        rates, momenta: One for each group at step 1, then at step 2, ...
    """

    def __init__(self, schedule: TorchSchedule) -> None:
        rates = schedule.start if isinstance(schedule.start, tuple) else (schedule.start,)
        groups = [{"params": [torch.nn.Parameter(torch.zeros(()))], "lr": rate} for rate in rates]
        self.optimizer = torch.optim.SGD(groups, lr=rates[0], momentum=UNTOUCHED)
        self.ngroups = len(groups)
        self.rates, self.momenta = array("d"), array("d")
        try:
            self.scheduler = schedule.scheduler(self.optimizer, **schedule.options)
        except Exception as error:
            made = getattr(schedule.scheduler, "__name__", repr(schedule.scheduler))
            raise ScheduleError(
                f"TorchSchedule: {made} cannot be made: {type(error).__name__}: {error}\n"
                f"Fix: pass its options by name, as torch documents them, without the optimizer."
            ) from error
        if isinstance(self.scheduler, ReduceLROnPlateau):
            raise ScheduleError(
                "TorchSchedule: ReduceLROnPlateau follows a metric and not the number of the step.\n"
                'Fix: add a callback to the learner in its place:\n    ReduceOnPlateau(monitor="Loss", patience=10)'
            )
        if not isinstance(self.scheduler, LRScheduler):
            raise ScheduleError(
                f"TorchSchedule: {schedule.scheduler!r} made {self.scheduler!r}, which is not one of torch's "
                f"schedulers.\n{EXAMPLE}"
            )
        self.optimizer.step()  # which a scheduler expects before its own first step
        self.note()
        self.cycles_momentum = any(value != UNTOUCHED for value in self.momenta)

    def go_to(self, t: int) -> None:
        """Step as often as it takes for the values of a step."""
        with warnings.catch_warnings():  # of what a scheduler passes to another
            warnings.simplefilter("ignore")
            for _ in range(t - len(self.rates) // self.ngroups):
                self.scheduler.step()
                self.note()

    def note(self) -> None:
        """Note the values of the step that the scheduler is at."""
        for group in self.optimizer.param_groups:
            self.rates.append(float(group["lr"]))
            self.momenta.append(float(group["momentum"]))
