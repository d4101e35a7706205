"""`TorchSchedule`: one of torch's own learning rate schedulers as a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from treadle_schedule.schedule import Number, Schedule, ScheduleError, check


@dataclass(frozen=True, init=False)
class TorchSchedule(Schedule):
    """The learning rate that one of torch's schedulers would set, by the number of the step.

    The scheduler steps an optimizer of its own, with one parameter that is never trained; the learner's
    optimizer is not touched. The values are kept, so each step of the scheduler is made once.

    Args:
        scheduler: A class of `torch.optim.lr_scheduler`, or any callable from an optimizer to a scheduler.
        start: The learning rate that the scheduler finds in its optimizer.
        **options: Passed on to `scheduler`.

    Raises:
        ScheduleError: if `scheduler` does not make a scheduler, or makes one that follows a metric.

    Example:
        >>> from torch.optim.lr_scheduler import ExponentialLR, LinearLR, SequentialLR
        >>> s = TorchSchedule(ExponentialLR, start=0.1, gamma=0.5)
        >>> [s(t) for t in (1, 2, 3)]
        [0.1, 0.05, 0.025]
        >>> def warm_up(optimizer):
        ...     parts = [LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.5)]
        ...     return SequentialLR(optimizer, parts, milestones=[2])
        >>> s = TorchSchedule(warm_up, start=0.1)
        >>> [round(s(t), 4) for t in (1, 2, 3, 4)]
        [0.05, 0.075, 0.1, 0.05]
    """

    scheduler: Callable[..., LRScheduler]
    start: Number
    options: Mapping[str, Any] = field(default_factory=dict)

    def __init__(self, scheduler: Callable[..., LRScheduler], *, start: float, **options: Any) -> None:
        vars(self).update(scheduler=scheduler, start=start, options=options)
        check(type(self), vars(self))
        if isinstance(scheduler, type) and issubclass(scheduler, ReduceLROnPlateau):
            raise ScheduleError(
                "TorchSchedule: ReduceLROnPlateau follows a metric and not the number of the step.\n"
                "Fix: pass a scheduler that counts steps:\n    TorchSchedule(ExponentialLR, start=0.1, gamma=0.9)"
            )

    def at(self, t: int) -> float:
        optimizer, scheduler, values = self._run
        while len(values) < t:
            if values:
                optimizer.step()
                scheduler.step()
            values.append(float(optimizer.param_groups[0]["lr"]))
        return values[t - 1]

    @cached_property
    def _run(self) -> tuple[torch.optim.Optimizer, LRScheduler, list[float]]:
        """The optimizer, its scheduler, and the learning rates up to where the two are."""
        # With a momentum, since some schedulers cycle that as well and insist on finding one.
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=self.start, momentum=0.9)
        scheduler = self.scheduler(optimizer, **self.options)
        if not isinstance(scheduler, LRScheduler):
            raise ScheduleError(
                f"TorchSchedule: {self.scheduler!r} made {scheduler!r}, which is not one of torch's schedulers.\n"
                f"Fix: pass a class or a function from an optimizer to a scheduler:\n"
                f"    TorchSchedule(ExponentialLR, start=0.1, gamma=0.9)"
            )
        return optimizer, scheduler, []

    def __repr__(self) -> str:
        scheduler = getattr(self.scheduler, "__name__", repr(self.scheduler))
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"TorchSchedule({scheduler}, start={self.start}{options})"
