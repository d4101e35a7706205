"""`LRFinder`: fastai's trial run with a rising learning rate; it is that of treadle-schedule."""

from __future__ import annotations

from typing import Any

import treadle_schedule
from treadle import Learner
from treadle.authoring import instance_of
from treadle_schedule import LRFinderResult


class LRFinder:
    """Find a learning rate: train with one that rises from batch to batch, and look at the losses.

    The trial stops after `num_it` updates or, with `stop_div`, where the smoothed loss is above four times its lowest
    value, or NaN. There is no validation in it, and afterwards the learner is bit for bit as it was, also after an
    error. It is `treadle_schedule.LRFinder`, under the names of fastai, which puts a callback in its place.

    Args:
        learn: The learner.
        start_lr: The first learning rate. Default: 1e-7.
        end_lr: What it rises to. Default: 10.
        num_it: The number of updates. Default: 100.
        stop_div: Whether to stop where the loss diverges. Default: True.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> result = LRFinder(learner, start_lr=1e-4, end_lr=100).find()
        >>> 0.001 < result.suggestion() < 0.1, learner.model.weight.item()
        (True, 0.0)
    """

    def __init__(
        self, learn: Learner, start_lr: float = 1e-7, end_lr: float = 10.0, num_it: int = 100, stop_div: bool = True
    ) -> None:
        self.learn = instance_of(learn, "LRFinder(learn)", Learner, "LRFinder(learner).find()")
        self._finder = treadle_schedule.LRFinder(start_lr, end_lr, num_it, stop_div)

    def find(self, data: Any = None, **options: Any) -> LRFinderResult:
        """Make the trial run; the arguments are those of `treadle_schedule.LRFinder.find`."""
        return self._finder.find(self.learn, data, **options)
