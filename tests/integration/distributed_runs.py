"""Runs that two processes make together, and one alone: `torchrun --nproc-per-node=2 distributed_runs.py FOLDER`."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from treadle import (
    AbstractTrainingPhase,
    CustomCallback,
    EpochBegin,
    Learner,
    LossBegin,
    TrainingPhase,
    run_epoch,
    run_step,
    run_update,
    step,
)
from treadle.operations import Loss
from treadle_amp import MixedPrecision
from treadle_distributed import DDP
from treadle_metrics import AbstractMetric, Metric, Metrics, Recorder, accuracy
from treadle_optim import EMA, SAM, Accumulate, ClipGradients, Unfreeze
from treadle_schedule import ReduceOnPlateau
from treadle_stopping import EarlyStopping, StopOnNaNLoss

ROWS = 44


def rows(n: int = ROWS) -> TensorDataset:
    generator = torch.Generator().manual_seed(5)
    xs = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return TensorDataset(xs, (xs.sum(1) > 0).long())


def loader(batch: int, n: int = ROWS, *, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(rows(n), batch, shuffle=shuffle, generator=torch.Generator().manual_seed(3))


def net() -> torch.nn.Module:
    torch.manual_seed(7 + int(torch.distributed.is_initialized() and torch.distributed.get_rank()))
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)).double()


def learner_of(batch: int, *callbacks: Any, model: Any = None, **loaders: Any) -> Learner:
    model = net() if model is None else model
    data = {"training": loader(batch, shuffle=True), "validation": loader(3, 13)} | loaders
    return Learner(
        model,
        torch.nn.functional.cross_entropy,
        data=data,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9),
        callbacks=[DDP(timeout=60), Recorder(), Metrics(accuracy), *callbacks],
        use_default_callbacks=False,
    )


def outcome(learner: Learner, **more: Any) -> dict[str, Any]:
    epochs = {
        f"{phase}/{name}": list(series.values)
        for phase, by_name in learner.cbstate.metricsepoch.items()
        for name, series in by_name.items()
    }
    history = {str(phase): record.to_dict() for phase, record in learner.cbstate.history.items()}
    return {"weights": learner.model.state_dict(), "epochs": epochs, "history": history, **more}


def plain(scale: int) -> dict[str, Any]:
    """Two epochs, with validation, evaluation and prediction."""
    learner = learner_of(4 * scale)
    learner.fit(2)
    evaluated = learner.evaluate(loader(5, 17))
    predicted = learner.predict([xs for xs, _ in loader(4, 19)])
    return outcome(learner, evaluated=evaluated, predicted=predicted)


def combined(*callbacks: Callable[[], Any]) -> Callable[[int], dict[str, Any]]:
    def run(scale: int) -> dict[str, Any]:
        learner = learner_of(4 * scale, *[make() for make in callbacks])
        learner.fit(2)
        return outcome(learner, steps=learner.progress.steps, updates=learner.progress.updates)

    return run


def in_memory(scale: int) -> dict[str, Any]:
    """Batches of a list, the last of them smaller."""
    xs, ys = rows(30).tensors
    batches = list(zip(xs.split(4 * scale), ys.split(4 * scale), strict=True))
    learner = learner_of(1, training=batches)
    learner.fit(2)
    return outcome(learner)


def by_steps(scale: int) -> dict[str, Any]:
    learner = learner_of(4 * scale)
    learner.fit(steps=9, validate_every=4)
    return outcome(learner, steps=learner.progress.steps)


def run_of_floats(scale: int, *callbacks: Any) -> dict[str, Any]:
    """In 16 bits, whose gradients are rounded before they are combined."""
    learner = learner_of(4 * scale, *callbacks, model=net().float())
    for name in ("training", "validation"):
        xs, ys = learner.data[name].dataset.tensors
        learner.data[name].dataset.tensors = xs.float(), ys
    learner.fit(2)
    return outcome(learner, updates=learner.progress.updates)


class Shuffled:
    """Batches of data in memory, in a new order by the global generator in each epoch."""

    def __init__(self, batch: int) -> None:
        self.xs, self.ys = rows(24).tensors
        self.batch, self.orders = batch, []

    def __iter__(self) -> Iterator[Any]:
        order = torch.randperm(24)
        self.orders.append(order.tolist())
        for part in order.split(self.batch):
            yield self.xs[part], self.ys[part]


def iterables(scale: int) -> dict[str, Any]:
    """Data that draw from the global generator, which every process has seeded in its own way."""
    data = Shuffled(4)
    learner = learner_of(1, training=data)
    learner.fit(3)
    return outcome(learner, orders=torch.tensor(data.orders))


class ByItself(AbstractTrainingPhase):
    """Apply the model without the operation `forward`."""

    def step(self, learner: Any, batch: Any) -> None:
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = learner.model(state.xs)
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


def own_phase(scale: int) -> dict[str, Any]:
    learner = learner_of(4 * scale)
    learner.fit(2, phases=[ByItself()])
    return outcome(learner)


def stopped(scale: int) -> dict[str, Any]:
    """Callbacks that look at values of epochs see the same everywhere."""
    stopping = EarlyStopping(patience=1, min_delta=0.02)
    plateau = ReduceOnPlateau(patience=0, threshold=0.05)
    learner = learner_of(4 * scale, stopping, plateau)
    result = learner.fit(20)
    return outcome(learner, ran=result.epochs, best=stopping.best, rate=learner.optimizer.param_groups[0]["lr"])


def with_torchmetrics(scale: int) -> dict[str, Any]:
    """Counts, sums and lists of torchmetrics; in validation the last process has fewer batches."""
    from torchmetrics.classification import MulticlassAUROC, MulticlassF1Score

    learner = learner_of(4 * scale, validation=loader(4, 9))
    learner.replace_callback(Metrics(MulticlassF1Score(2, average="macro"), MulticlassAUROC(2), Metric(spread)))
    learner.fit(2)
    evaluated = learner.evaluate(loader(3, 4), accuracy)
    return outcome(learner, evaluated=evaluated)


def spread(yhats: torch.Tensor, ys: torch.Tensor) -> dict[str, float]:
    return {"mean": yhats.mean().item(), "share": (ys > 0).double().mean().item()}


def by_torchs_sampler(scale: int) -> dict[str, Any]:
    """A loader that divides its data by itself is used as it is, with the number of the epoch."""
    data = rows(24)
    if scale == 1:
        training = DataLoader(data, 4, sampler=DistributedSampler(data, seed=3))
        learner = learner_of(4, training=training)
        learner.fit(2)
        return outcome(learner, epoch=training.sampler.epoch)
    order = torch.utils.data.Subset(data, range(24))
    both = DistributedSampler(order, num_replicas=1, rank=0, seed=3)
    learner = learner_of(1, training=DataLoader(data, 8, sampler=both))
    set_epoch = CustomCallback(lambda learner: both.set_epoch(learner.progress.epoch), EpochBegin, TrainingPhase)
    learner.add_callback(set_epoch)
    learner.fit(2)
    return outcome(learner, epoch=both.epoch)


def batch_sampler(scale: int) -> dict[str, Any]:
    """Batches of a sampler of one's own, 7 of them, of which the last process misses one."""
    batches = [list(range(i, i + 2 * scale)) for i in range(0, 14, 2 * scale)]
    batches[-1] = [i for i in batches[-1] if i < 14]
    learner = learner_of(1, training=DataLoader(rows(14), batch_sampler=batches))
    learner.fit(2)
    return outcome(learner)


def drop_last(scale: int) -> dict[str, Any]:
    """Of 55 rows each process has 27, and 24 of them in batches."""
    learner = learner_of(1, training=DataLoader(rows(55), 4 * scale, drop_last=True))
    learner.fit(2)
    return outcome(learner, steps=learner.progress.steps)


def cancelled(scale: int) -> dict[str, Any]:
    """A row of one process that is not finite: the other has updated the statistics of BatchNorm as well."""
    data = DataLoader(rows(), 4 * scale)
    data.dataset.tensors[0][21] = torch.nan
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)).double()
    learner = learner_of(1, StopOnNaNLoss(), model=model, training=data)
    learner.fit(2)
    return outcome(learner, steps=learner.progress.steps)


class OverRaw(TrainingPhase):
    """Go over data as they are."""

    def epoch(self, learner: Any, data: Any) -> None:
        with run_epoch(learner, self):
            for batch in data:
                step(learner, self, batch)


class Unsized:
    """So many batches, which nobody knows before."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Any]:
        xs, ys = rows().tensors
        yield from list(zip(xs.split(4), ys.split(4), strict=True))[: self.n]


def apart() -> dict[str, Callable[[], object]]:
    """What two processes do differently."""
    rank = torch.distributed.get_rank()
    batches = list(zip(*(t.split(4) for t in rows(40 + 8 * rank).tensors), strict=True))
    other_rows = loader(4)
    other_rows.dataset.tensors = tuple(t.flip(0) if rank else t for t in other_rows.dataset.tensors)
    rates = learner_of(4)
    rates.optimizer.param_groups[0]["lr"] = 0.1 * (1 + rank)
    return {
        "rates": lambda: rates.fit(1),
        "clipping": lambda: learner_of(4, ClipGradients(norm=0.01 * (1 + rank))).fit(1),
        "lists": lambda: learner_of(4, training=batches).fit(1),
        "rows": lambda: learner_of(4, training=other_rows).fit(1),
        "unsized": lambda: learner_of(4, training=Unsized(9 + rank)).fit(1),
        "raw": lambda: learner_of(4).fit(1, phases=[OverRaw()]),
        "epochs": lambda: learner_of(4).fit(1 + rank),
        "steps": lambda: learner_of(4).fit(steps=5 + rank),
        "accumulation": lambda: learner_of(4, Accumulate(2 + rank)).fit(1),
    }


class Unused(torch.nn.Module):
    """It has parameters that its output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = net(), torch.nn.Linear(1, 1).double()

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.used(xs)


def refused(scale: int) -> dict[str, Any]:
    """What is refused in two processes, by name, before the first step."""
    rank = torch.distributed.get_rank()
    state = DataLoader(rows(8), 2)
    state.state_dict = state.load_state_dict = dict
    words = [(["a"], ["b"])]
    own = learner_of(4, training=list(zip(*(t.split(4) for t in rows(8 + 8 * rank).tensors), strict=True))[rank:])

    def message(function: Callable[[], object]) -> str:
        try:
            function()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    class Unmerged(AbstractMetric):
        def reset(self) -> None: ...

        def step(self, learner: Any, phase: Any) -> None: ...

        def step_value(self) -> None: ...

        def epoch_value(self) -> None: ...

    other = torch.nn.Linear(3, 2 + rank).double()
    unmerged = learner_of(4)
    unmerged.replace_callback(Metrics(Unmerged()))
    lossfn = torch.nn.Linear(2, 2).double()
    foreign = torch.optim.SGD([*other.parameters(), *lossfn.parameters()], lr=0.1)
    half = DataLoader(rows(9), 2, sampler=DistributedSampler(rows(9)))
    return {name: message(run) for name, run in apart().items()} | {
        "different data": message(lambda: own.fit(1)),
        "different models": message(lambda: learner_of(4, model=other)),
        "a state": message(lambda: learner_of(4, training=state).fit(1)),
        "no rows": message(lambda: learner_of(4, training=words).fit(1)),
        "a metric": message(lambda: unmerged.fit(1)),
        "a lossfn": message(
            lambda: Learner(
                net(),
                torch.nn.functional.cross_entropy,
                data=(loader(4),),
                optimizer=foreign,
                callbacks=[DDP()],
                use_default_callbacks=False,
            ).fit(1)
        ),
        "unused parameters": message(lambda: learner_of(4, model=Unused()).fit(steps=1)),
        "unused parameters, accumulated": message(lambda: learner_of(4, Accumulate(2), model=Unused()).fit(1)),
        "rows twice": message(lambda: learner_of(4).evaluate(half)),
        "no order": message(lambda: learner_of(4).predict(half)),
        "another process": message(
            lambda: learner_of(4, training=DataLoader(rows(9), 2, sampler=DistributedSampler(rows(9), 3, 2))).fit(1)
        ),
    }


RUNS: dict[str, Callable[[int], dict[str, Any]]] = {
    "plain": plain,
    "in_memory": in_memory,
    "by_steps": by_steps,
    "accumulate": combined(lambda: Accumulate(4)),
    "weighted": combined(lambda: Accumulate(2, weight="rows")),
    "clip": combined(lambda: ClipGradients(norm=0.1)),
    "ema": combined(lambda: EMA(0.9)),
    "sam": combined(lambda: SAM(0.05)),
    "accumulate_sam": combined(lambda: SAM(0.05), lambda: Accumulate(2)),
    "unfinished": combined(lambda: SAM(0.05), lambda: Accumulate(4), lambda: ClipGradients(norm=0.1)),
    "bf16": lambda scale: run_of_floats(scale, MixedPrecision("bf16")),
    "fp16": lambda scale: run_of_floats(scale, MixedPrecision("fp16"), Accumulate(4)),
    "epochs_of_iterables": lambda scale: iterables(scale),
    "by_torchs_sampler": by_torchs_sampler,
    "batch_sampler": batch_sampler,
    "drop_last": drop_last,
    "cancelled": cancelled,
    "refused": refused,
    "own_phase": lambda scale: own_phase(scale),
    "frozen": combined(lambda: Unfreeze({2: "0.*"})),
    "stopped": lambda scale: stopped(scale),
    "torchmetrics": lambda scale: with_torchmetrics(scale),
    "all": combined(lambda: Accumulate(2), lambda: ClipGradients(norm=0.1), lambda: EMA(0.9)),
}

if __name__ == "__main__":
    chosen = sys.argv[2:] or list(RUNS)
    results = {name: RUNS[name](1) for name in chosen}
    rank = torch.distributed.get_rank()
    torch.save(results, Path(sys.argv[1]) / f"{rank}.pt")
