"""`OneCycleScheduler`: one cycle of the learning rate and the momentum over a whole training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from treadle import PropDict, Read, Series, Unresolvable, Write
from treadle.authoring import length_of
from treadle.errors import ArgumentTypeError, DataError
from treadle_schedule import LearningRate, Momentum

from treadle_fastai.annealing import Stepper, annealing_cos
from treadle_fastai.callback import LearnerCallback
from treadle_fastai.optim_wrapper import OptimWrapper, listed, lr_range


class OneCycleScheduler(LearnerCallback):
    """One cycle over all batches of a training: the learning rate rises to its maximum and falls, along cosines.

    It rises from `lr_max` / `div_factor` in the first `pct_start` of the batches, and falls to `lr_max` / `final_div`
    in the others; the momentum goes from the first to the second of `moms` and back. The first values are set when the
    training begins, the next ones after each training batch.

    Args:
        learn: The learner, if it is there already; not needed. Default: none.
        lr_max: The highest learning rate, a list with one for each layer group, or a slice as in `lr_range`.
        moms: The highest and the lowest momentum. Default: (0.95, 0.85). An optimizer that has none goes without.
        div_factor: What the learning rate begins with, as a part of its maximum. Default: 25.
        pct_start: The part of the batches in which it rises. Default: 0.3.
        final_div: What it ends with. Default: `div_factor` * 10000.

    Reads: `data`, for the number of batches. Writes: `optimizer`; and `cbstate.hyperparams`, as `Scheduler` does: for
    "LearningRate" and "Momentum" a `Series` of the values of the last layer group, by the number of steps done.

    Raises:
        ArgumentTypeError: without `lr_max`.
        DataError: when a fit begins, if its number of batches is not known.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(OneCycleScheduler(lr_max=0.01))
        >>> result = learner.fit(5)
        >>> round(learner.model.weight.item(), 1)
        3.0
    """

    state_access = {"optimizer": Write, "data": Read, "cbstate.hyperparams": Write}
    hyperparameters = (LearningRate(), Momentum())

    @classmethod
    def example(cls) -> Self:
        return cls(lr_max=0.01)

    def __init__(
        self,
        learn: Any = None,
        lr_max: float | slice | Sequence[float] | None = None,
        moms: tuple[float, float] = (0.95, 0.85),
        div_factor: float = 25.0,
        pct_start: float = 0.3,
        final_div: float | None = None,
    ) -> None:
        super().__init__(learn)
        if lr_max is None:
            raise ArgumentTypeError(
                "OneCycleScheduler needs a learning rate.\nFix: write, for example:\n    OneCycleScheduler(lr_max=1e-3)"
            )
        self.lr_max, self.moms, self.div_factor, self.pct_start = lr_max, tuple(moms), div_factor, pct_start
        self.final_div = div_factor * 1e4 if final_div is None else final_div
        self.n = 0
        self.lr_scheds: list[list[Stepper]] = []
        self.mom_scheds: list[Stepper] = []

    def resolve_conflict(self, other: Any) -> Any:
        """Another one that sets the learning rate or the momentum cannot be there as well."""
        for H in self.hyperparameters:
            if any(H.clashes_with(another) for another in other.hyperparameters):
                return Unresolvable(f"both set the hyperparameter {H.name}, and only one of them can.")
        return super().resolve_conflict(other)

    def on_train_begin(self, n_epochs: int | None, **kwargs: Any) -> None:
        """Set the first values."""
        batches = length_of(self.learn.data.train_dl)
        if batches is None or n_epochs is None:
            raise DataError(
                "OneCycleScheduler needs to know how many batches a fit has, and its data or arguments do not say.\n"
                "Fix: pass a loader with a length and a number of epochs, or schedule a number of steps:\n"
                "    Scheduler({LearningRate: OneCycle(nsteps=1000, max_val=1e-3)})"
            )
        n = batches * n_epochs
        first = int(n * self.pct_start)
        opt = self.learn.opt
        count = len(opt.read_val("lr"))
        highest = listed("lr_max", lr_range(self.lr_max, count), count)
        ways = [(1 / self.div_factor, 1.0, first), (1.0, 1 / self.final_div, n - first)]
        self.lr_scheds = [
            [Stepper((lr * start, lr * end), steps, annealing_cos) for lr in highest] for start, end, steps in ways
        ]
        high, low = self.moms
        self.mom_scheds = [Stepper((high, low), first, annealing_cos), Stepper((low, high), n - first, annealing_cos)]
        self.n = 0
        self._set(opt, [sched.start for sched in self.lr_scheds[0]], high)

    def _set(self, opt: OptimWrapper, rates: list[float], mom: float) -> None:
        """Set the values of the next batch, and record them."""
        opt.lr = rates
        values = {"LearningRate": rates[-1]}
        if opt.mom is not None:
            opt.mom = mom
            values["Momentum"] = mom
        learner = self.learn
        if "hyperparams" not in learner.cbstate:
            learner.cbstate.hyperparams = PropDict()
        records, steps = learner.cbstate.hyperparams, learner.progress.steps
        for name, value in values.items():
            record = records.setdefault(name, Series())
            if not len(record) or record.iterations[-1] != steps:
                record.push(steps, value)

    def on_batch_end(self, train: bool, **kwargs: Any) -> dict[str, Any] | None:
        """Take the next values, after a batch of training."""
        if not train:
            return None
        self.n += 1
        first, second = (sched.n_iter for sched in self.mom_scheds)
        if self.n > first + second:
            return {"stop_training": True, "stop_epoch": True}
        half = int(self.n > first)
        scheds, opt = [*self.lr_scheds[half], self.mom_scheds[half]], self.learn.opt
        for sched in scheds:
            sched.n = self.n - half * first - 1
        *rates, mom = (sched.step() for sched in scheds)
        self._set(opt, rates, mom)
        return None

    def state_dict(self) -> dict[str, Any]:
        """How many batches were done; what it walks along is made again when the fit begins."""
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.n = state["n"]
