"""`LRFinder`: a trial run with a rising learning rate, which leaves no trace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from treadle import Callback, Learner, Phase, TrainingPhase
from treadle.state.random_state import preserved_random_state

from treadle_schedule.errors import LRFinderError
from treadle_schedule.fields import Count, Positive, check
from treadle_schedule.lr_finder_result import LRFinderResult
from treadle_schedule.lr_sweep import Sweep
from treadle_schedule.snapshot import Snapshot
from treadle_schedule.taking_part import taking_part


@dataclass(frozen=True)
class LRFinder:
    """Find a learning rate: train with one that rises from step to step, and look at the losses.

    The trial trains the learner's own model, with its optimizer and data, and puts back everything
    that it changed, also if it fails: parameters, buffers and modes of the model, the optimizer's state,
    the state of callbacks, the random generators of Python, NumPy, torch and the loader. A `fit` after
    `find` gives bit for bit what it would have given without.

    Of the callbacks, those take part in the trial that change what a step computes, such as `ToDevice` or one
    that clips gradients. Those that watch, stop, save or set hyperparameters do not.

    Args:
        start: The learning rate of the first step. Default: 1e-7.
        end: What the learning rate rises to, one step after the last. Default: 10.
        num_it: The number of steps. Default: 100.
        stop_div: Whether to stop where the smoothed loss is more than four times its lowest value,
            or no number. Default: True.

    Raises:
        ScheduleError: if an argument is no such number.
        LRFinderError: if `end` is not greater than `start`; in `find`, if it could not be undone.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> result = LRFinder(start=1e-4, end=100).find(learner)
        >>> result
        LRFinderResult(...)
        >>> 0.001 < result.suggestion() < 0.1
        True
        >>> learner.model.weight.item(), learner.progress.steps
        (0.0, 0)

    Source: fastai, `LRFinder`; Smith, "Cyclical Learning Rates for Training Neural Networks" (2015).
    """

    start: Positive = 1e-7
    end: Positive = 10.0
    num_it: Count = 100
    stop_div: bool = True

    def __post_init__(self) -> None:
        check(type(self), vars(self))
        if not self.start < self.end:
            raise LRFinderError(
                f"LRFinder: `end` must be greater than `start`, not {self.end} after {self.start}: "
                f"LRFinder(start=1e-7, end=10)"
            )

    def find(
        self,
        learner: Learner,
        data: Any = None,
        *,
        phase: Phase | None = None,
        callbacks: Iterable[Callback] | None = None,
    ) -> LRFinderResult:
        """Make the trial run.

        Args:
            learner: The learner. It is afterwards as it was before.
            data: An iterable of batches, run over again as often as needed. Default: the learner's
                data of that phase.
            phase: The phase to train in. Default: `TrainingPhase()`.
            callbacks: The callbacks that take part. Default: those of the learner that take part in an
                operation of a step or write more than `cbstate` before a step's end, unless they set
                hyperparameters; and those that provide what these read.

        Returns:
            The losses, from which it makes suggestions and a picture.

        Raises:
            DataError: if there are no data to train with.
            LRFinderError: if the data are an iterator, which the trial would use up; or a parameter
                of the model is lazy; or the steps of the phase have no loss.
        """
        phase = phase or TrainingPhase()
        name = str(phase.data_name)
        if data is None and name in learner.data:
            data = learner.data[name]
        if hasattr(data, "__next__"):
            raise LRFinderError(
                f"The training data are a {type(data).__name__}, which can be read once, and the trial would use "
                f"it up. Pass others: LRFinder().find(learner, data=loader)"
            )
        chosen = taking_part(learner.callbacks) if callbacks is None else list(callbacks)
        if torch.cuda.is_available():
            torch.cuda.init()  # type: ignore[no-untyped-call]  # so that its random generators are there to be put back
        with preserved_random_state():
            snapshot = Snapshot([*learner.models, *learner.optimizers, learner.lossfn, *chosen], [data])
            try:
                return self._try_out(learner, {} if data is None else {name: data}, phase, chosen)
            finally:
                snapshot.restore()

    def _try_out(
        self, learner: Learner, data: dict[str, Any], phase: Phase, callbacks: list[Callback]
    ) -> LRFinderResult:
        for model in learner.models:
            model.zero_grad(set_to_none=True)  # the gradients that are there are left alone
        sweep = Sweep(self.start, self.end, self.num_it, stop_div=self.stop_div)
        trial = Learner(
            learner.model,
            learner.lossfn,
            optimizer=learner.optimizer,
            callbacks=[*callbacks, sweep],
            use_default_callbacks=False,
        )
        result = trial.fit(self.num_it, data, phases=[phase])  # an epoch has at least one step
        stopped = str(result.cancelled) if result.cancelled else "the data ended"
        return LRFinderResult(tuple(sweep.lrs), tuple(sweep.losses), tuple(sweep.smoothed), self.num_it, stopped)
