"""The runs of the campaign of resumes: models, data and callbacks that keep state in every place we know of."""

from __future__ import annotations

import collections
import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import treadle_flux
import treadle_optim
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    Learner,
    Phase,
    Read,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    run_update,
    step,
    throttle,
)
from treadle.authoring import batches
from treadle.events import LossBegin, StepEnd
from treadle.operations import Loss
from treadle_amp import MixedPrecision
from treadle_device import GarbageCollect, ToDevice
from treadle_logging import CSVBackend, LogHistograms, LogHyperParams, LogMetrics
from treadle_metrics import Metric, Metrics, Recorder, SmoothLoss, Traces
from treadle_sanity import SanityCheck
from treadle_schedule import Exp, LearningRate, Momentum, Scheduler, TorchSchedule, onecycle
from treadle_stopping import GL, PQ, UP, EarlyStopping, NumberLimit, NumberSinceBest, Patience, Threshold
from treadle_tensorboard import TensorBoardBackend

ROWS = 12


def rows(seed: int, n: int = ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 2, generator=generator), torch.rand(n, 1, generator=generator)


def batch_list(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    xs, ys = rows(seed)
    return list(zip(xs.split(4), ys.split(4), strict=True))


def shuffled(seed: int = 1, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*rows(seed)), batch_size=4, **{"shuffle": True, **options})


def in_memory(seed: int = 1, batchsize: int = 5) -> Any:
    """The loader of treadle-flux, with a generator of its own."""
    return treadle_flux.DataLoader(rows(seed), batchsize, shuffle=True)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def train(learner: Learner) -> None:
    learner.fit(3)


@dataclass(frozen=True)
class Setup:
    """How a run is made and trained. What a function makes here is made anew for every run."""

    name: str
    callbacks: Callable[[Path], list[Any]] = lambda folder: []
    model: Callable[[], Any] = net
    data: Callable[[], Any] = lambda: (shuffled(), batch_list(2))
    optimizer: Any = sgd
    lossfn: Callable[[], Any] = lambda: nn.functional.mse_loss
    train: Callable[[Learner], Any] = train
    during: type[Phase] = AbstractTrainingPhase
    options: Callable[[], dict[str, Any]] = dict

    def learner(self, folder: Path, more: list[Callback]) -> Learner:
        state = torch.get_rng_state()
        torch.manual_seed(0)
        model = self.model()
        torch.set_rng_state(state)
        options = {"use_default_callbacks": False, **self.options()}
        return Learner(
            model,
            self.lossfn(),
            data=self.data(),
            optimizer=self.optimizer if not isinstance(self.optimizer, tuple) else self.optimizer[0](model),
            callbacks=[*self.callbacks(folder), *more],
            **options,
        )


# Models.


class Hidden(nn.Module):
    """Keeps a running mean in a buffer that no state_dict names."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()
        self.register_buffer("mean", torch.zeros(2), persistent=False)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * xs.mean(0))
        return self.inner(xs - self.mean)


class Noisy(nn.Module):
    """Draws from a generator of its own, under a name that says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()
        self.parts = [{"source": torch.Generator().manual_seed(3)}]

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.inner(xs + 0.1 * torch.rand(xs.shape, generator=self.parts[0]["source"]))


class MadeLater(nn.Module):
    """Makes a buffer, which was registered as None, from its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()
        self.register_buffer("mean", None)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = xs.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * xs.mean(0)
        return self.inner(xs if self.mean is None else xs - self.mean)


def scripted() -> nn.Module:
    return torch.jit.script(deep())


def normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 4)), nn.Linear(4, 1))


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Linear(4, 1))
    model(torch.rand(4, 2))
    return model


def partly_frozen() -> nn.Module:
    model = deep()
    model[0].requires_grad_(False)
    model[1].eval()
    return model


def two() -> dict[str, nn.Module]:
    return {"first": nn.Linear(2, 2), "second": nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.2), nn.Linear(4, 1))}


class TwoModels(AbstractTrainingPhase):
    """One model after the other."""

    def step(self, learner: Any, batch: Any) -> None:
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = learner.model.second(learner.model.first(state.xs))
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


class WeighedLoss(nn.Module):
    """A loss function that counts, and has a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("count", torch.zeros(1))

    def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.count += 1
        return ((yhats - ys) ** 2).mean() * (1 + 0.01 * self.count.squeeze())


def grouped(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.01}, {"params": model[2].parameters()}], lr=0.1)


# Data.


class Augmented(Dataset[Any]):
    """Adds noise from generators under odd names, in odd places."""

    def __init__(self, seed: int = 1) -> None:
        self.xs, self.ys = rows(seed)
        self._gen = np.random.default_rng(5)
        self.transforms = [self.jitter, {"flip": random.Random(7)}]
        self.deque = collections.deque([np.random.RandomState(9)])

    def jitter(self, x: torch.Tensor) -> torch.Tensor:
        return x + 0.1 * float(self._gen.random())

    def __len__(self) -> int:
        return len(self.xs)

    def __getitem__(self, i: int) -> Any:
        x = self.jitter(self.xs[i])
        x = -x if self.transforms[1]["flip"].random() < 0.5 else x
        return x + float(self.deque[0].rand()) * 0.1, self.ys[i]


class GlobalNoise(Augmented):
    """Adds noise from the global generators of Python, NumPy and torch."""

    def __getitem__(self, i: int) -> Any:
        return self.xs[i] + random.random() + float(np.random.rand()) + torch.rand(1), self.ys[i]


class ByEpoch(Sampler[int]):
    """Orders the rows by the number of the epoch that it is given, as `DistributedSampler` does."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return ROWS

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.epoch)).tolist())


class Rotating(Sampler[int]):
    """Starts each pass a row further on, and offers its position as a state."""

    def __init__(self) -> None:
        self.passes = 0

    def __len__(self) -> int:
        return ROWS

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        start = self.passes
        yield from ((start + i) % ROWS for i in range(ROWS))

    def state_dict(self) -> dict[str, Any]:
        return {"passes": self.passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.passes = state["passes"]


class Counting(Dataset[Any]):
    """Counts its passes and offers the count as a state."""

    def __init__(self) -> None:
        self.xs, self.ys = rows(1)
        self.reads = 0

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, i: int) -> Any:
        self.reads += 1
        return self.xs[i] + 0.01 * self.reads, self.ys[i]

    def state_dict(self) -> dict[str, Any]:
        return {"reads": self.reads}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.reads = state["reads"]


class StatefulLoader:
    """A loader whose own state stands between two batches."""

    def __init__(self) -> None:
        self.batches, self.at, self.rng = batch_list(1), 0, random.Random(3)
        self.order: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        if not self.order:
            self.order = self.rng.sample(range(len(self.batches)), len(self.batches))
        while self.at < len(self.order):
            self.at += 1
            yield self.batches[self.order[self.at - 1]]
        self.at, self.order = 0, []

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "order": list(self.order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.at, self.order = state["at"], list(state["order"])


class Lines(IterableDataset[Any]):
    """Rows one after the other, shuffled by torch's global generator."""

    def __iter__(self) -> Iterator[Any]:
        xs, ys = rows(1)
        for i in torch.randperm(ROWS).tolist():
            yield xs[i], ys[i]


class Wrapped:
    """A loader that calls another one, with a generator in a closure's cell and one in a slot."""

    __slots__ = ("batches", "mix", "source")

    def __init__(self) -> None:
        self.batches, self.source = batch_list(1), np.random.default_rng(11)
        generator = torch.Generator().manual_seed(13)

        def mix(xs: torch.Tensor) -> torch.Tensor:
            return xs + 0.1 * torch.rand(1, generator=generator)

        self.mix = mix

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for i in self.source.permutation(len(self.batches)):
            xs, ys = self.batches[i]
            yield self.mix(xs), ys


def collate_with(generator: random.Random, rows_: list[Any]) -> Any:
    xs, ys = zip(*rows_, strict=True)
    return torch.stack(xs) + generator.random(), torch.stack(ys)


# Callbacks.


class SetEpoch(Callback):
    """Tells the sampler the number of the epoch."""

    state_access = {"data": Read}

    def on_epoch_begin(self, learner: Any, phase: TrainingPhase) -> None:
        learner.data.training.sampler.set_epoch(learner.progress.epoch)


class FreezeFrom(Callback):
    """Freezes BatchNorm from the second epoch on, by its mode and its parameters."""

    state_access = {"model": Write}

    def on_epoch_begin(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.epoch == 2:
            learner.model[1].eval()
            learner.model[1].requires_grad_(False)


class EvalInAStep(Callback):
    """Sets a part to eval mode in the second step, and back in the first of the next epoch."""

    state_access = {"model": Write}

    def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.step == 2:
            learner.model[2].eval()
        if learner.progress.step == 1:
            learner.model[2].train()


class Noise(Callback):
    """Adds noise to the targets, from a generator of its own."""

    state_access = {"step.ys": Write}

    def __init__(self) -> None:
        self._hidden = {"of": [np.random.default_rng(1)]}

    def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
        learner.step.ys = learner.step.ys + float(self._hidden["of"][0].random())


class Average(Callback):
    """An average of the weights, with which validation runs."""

    state_access = {"model": Write}

    def on_init(self, learner: Any) -> None:
        self.average = [parameter.detach().clone() for parameter in learner.model.parameters()]

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        for average, parameter in zip(self.average, learner.model.parameters(), strict=True):
            average.lerp_(parameter.detach(), 0.3)

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: ValidationPhase) -> Any:
        own = [parameter.detach().clone() for parameter in learner.model.parameters()]
        self.copy(learner, self.average)
        try:
            return (yield)
        finally:
            self.copy(learner, own)

    def copy(self, learner: Any, values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(learner.model.parameters(), values, strict=True):
                parameter.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for average, value in zip(self.average, state["average"], strict=True):
            average.copy_(value)


class Skip(Callback):
    """Cancels the second step of each epoch."""

    def on_loss_begin(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.step == 2:
            raise CancelStepException


class Short(Callback):
    """Cancels the second epoch after its first step."""

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.epoch == 2:
            raise CancelEpochException


class StopIn(Callback):
    """Ends the fit for good in the second step of the second epoch, which draws a random number."""

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        torch.rand(1)
        if (learner.progress.epoch, learner.progress.step) == (2, 2):
            raise Enough


class Enough(CancelFittingException):
    final = True


class ValidateInside(Callback):
    """Validates after every second step, inside of it."""

    state_access = {"loop": Write}

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.steps % 2 == 0:
            learner.loop.epoch(ValidationPhase())


class Often(AbstractTrainingPhase):
    """Validates between two of its steps."""

    def epoch(self, learner: Any, data: Any) -> None:
        with run_epoch(learner, self):
            for batch in batches(learner, self, data):
                step(learner, self, batch)
                if learner.progress.step % 2 == 0:  # a number of its own would begin anew in a resumed epoch
                    epoch(learner, ValidationPhase())

    def step(self, learner: Any, batch: Any) -> None:
        TrainingPhase.step(self, learner, batch)  # type: ignore[arg-type]


class Counter(Callback):
    """Keeps a list in `cbstate`."""

    state_access = {"cbstate.seen": Write, "step.loss": Read}

    def on_init(self, learner: Any) -> None:
        if "seen" not in learner.cbstate:
            learner.cbstate.seen = []

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        learner.cbstate.seen.append(learner.step.loss.item())


class Closure(Callback):
    """Gives LBFGS the closure that it needs."""

    state_access = {"model": Write, "optimizer": Write, "step": Read}

    def update(self, learner: Any, phase: TrainingPhase) -> bool:
        def closure() -> torch.Tensor:
            learner.optimizer.zero_grad()
            loss = nn.functional.mse_loss(learner.model(learner.step.xs), learner.step.ys)
            loss.backward()
            return loss

        learner.optimizer.step(closure)
        return True


def logs(folder: Path) -> list[Callback]:
    path = folder / "log.csv"
    return [*metrics(), LogMetrics(CSVBackend(path, append=path.exists()), TensorBoardBackend(folder / "tensorboard"))]


def metrics(*more: Any) -> list[Callback]:
    return [Recorder(), Metrics(*more)]


def l1() -> Metric:
    return Metric(nn.functional.l1_loss, name="L1")


def in_float16() -> MixedPrecision:
    """With a scaler of which every few updates overflow."""
    return MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=1))


def in_phases(*phases: Phase, n: int = 3) -> Callable[[Learner], Any]:
    return lambda learner: learner.fit(n, phases=phases)


SETUPS = [
    # Models.
    Setup("a plain net"),
    Setup("BatchNorm and Dropout", model=deep),
    Setup("a buffer that no state_dict names", model=Hidden),
    Setup("a buffer that was None", model=MadeLater),
    Setup("a generator in the model", model=Noisy),
    Setup("a TorchScript model", model=scripted),
    Setup("spectral norm", model=normed),
    Setup("a lazy model", model=lazy),
    Setup("a partly frozen model", model=partly_frozen),
    Setup("two models", model=two, train=in_phases(TwoModels())),
    Setup(
        "two models, two optimizers",
        model=two,
        optimizer={"first": sgd, "second": torch.optim.Adam},
        train=in_phases(TwoModels()),
    ),
    Setup("a loss function with state", lossfn=WeighedLoss),
    # Optimizers.
    Setup("Adam", optimizer=torch.optim.Adam),
    Setup("AMSGrad", optimizer=functools.partial(torch.optim.AdamW, amsgrad=True)),
    Setup("RMSprop", optimizer=functools.partial(torch.optim.RMSprop, centered=True)),
    Setup("Adagrad", optimizer=torch.optim.Adagrad),
    Setup("LBFGS", lambda folder: [Closure()], optimizer=functools.partial(torch.optim.LBFGS, max_iter=3)),
    Setup("groups of parameters", optimizer=(grouped,)),
    # Data.
    Setup("a list", data=lambda: (batch_list(1), batch_list(2))),
    Setup("no validation", data=lambda: (shuffled(),)),
    Setup("a loader with a generator", data=lambda: (shuffled(generator=torch.Generator().manual_seed(3)),)),
    Setup("validation from a shuffled loader", data=lambda: (shuffled(), shuffled(2))),
    Setup("one loader for both", data=lambda: (loader := shuffled(), loader)),
    Setup(
        "a weighted sampler", data=lambda: (shuffled(shuffle=False, sampler=WeightedRandomSampler([1.0] * ROWS, ROWS)),)
    ),
    Setup("a subset", data=lambda: (shuffled(shuffle=False, sampler=SubsetRandomSampler(range(8))),)),
    Setup(
        "a batch sampler",
        data=lambda: (
            DataLoader(
                TensorDataset(*rows(1)), batch_sampler=BatchSampler(RandomSampler(range(ROWS)), 4, drop_last=False)
            ),
        ),
    ),
    Setup(
        "a sampler with set_epoch", lambda f: [SetEpoch()], data=lambda: (shuffled(shuffle=False, sampler=ByEpoch()),)
    ),
    Setup("a sampler with a state", data=lambda: (shuffled(shuffle=False, sampler=Rotating()),)),
    Setup("a data set with a state", data=lambda: (DataLoader(Counting(), batch_size=4),)),
    Setup(
        "generators in a data set", data=lambda: (DataLoader(Augmented(), 4, shuffle=True), DataLoader(Augmented(2), 4))
    ),
    Setup("noise from global generators", data=lambda: (DataLoader(GlobalNoise(), 4), DataLoader(GlobalNoise(2), 4))),
    Setup("data in memory", data=lambda: (in_memory(), treadle_flux.DataLoader(rows(2), 5, partial=False))),
    Setup("data in memory, validated often", data=lambda: (in_memory(), in_memory(2)), during=Phase),
    Setup("data in memory for both", lambda f: [ValidateInside()], data=lambda: (loader := in_memory(), loader)),
    Setup("data in memory, cancelled steps", lambda f: [Skip(), *metrics()], data=lambda: (in_memory(batchsize=2),)),
    Setup("data in memory, a cancelled epoch", lambda f: [Short()], data=lambda: (in_memory(batchsize=2),)),
    Setup("data in memory, stopped for good", lambda f: [StopIn()], data=lambda: (in_memory(batchsize=2),)),
    Setup("a loader with a state", data=lambda: (StatefulLoader(), batch_list(2))),
    Setup("an iterable data set", data=lambda: (DataLoader(Lines(), 4), batch_list(2))),
    Setup("generators in a slot and a closure", data=lambda: (Wrapped(), batch_list(2))),
    Setup(
        "a generator in collate_fn",
        data=lambda: (shuffled(collate_fn=functools.partial(collate_with, random.Random(4))), batch_list(2)),
    ),
    Setup("workers", data=lambda: (DataLoader(GlobalNoise(), 4, num_workers=1, multiprocessing_context="fork"),)),
    # Callbacks of one's own.
    Setup("BatchNorm frozen in epoch 2", lambda folder: [FreezeFrom()], model=deep),
    Setup("a mode set in a step", lambda folder: [EvalInAStep()], model=deep),
    Setup("accumulation", lambda folder: [treadle_optim.Accumulate(2)]),
    Setup("a generator in a callback", lambda folder: [Noise()]),
    Setup("averaged weights", lambda folder: [Average(), *metrics()]),
    Setup("cancelled steps", lambda folder: [Skip(), *metrics()]),
    Setup("a cancelled epoch", lambda folder: [Short(), *metrics()]),
    Setup("stopped for good in a step", lambda folder: [StopIn(), *metrics()]),
    Setup(
        "stopped for good with a state in the data",
        lambda folder: [StopIn(), *metrics()],
        data=lambda: (shuffled(shuffle=False, sampler=Rotating()), DataLoader(Counting(), batch_size=4)),
    ),
    Setup("validation inside of a step", lambda folder: [ValidateInside(), *metrics()], model=deep),
    Setup(
        "validation between two steps", lambda folder: [*metrics()], model=deep, train=in_phases(Often()), during=Often
    ),
    Setup("a list in cbstate", lambda folder: [Counter()]),
    Setup("throttled callbacks", lambda folder: [throttle(Counter(), StepEnd, freq=2)]),
    # Callbacks of the plugins.
    Setup("the defaults", options=lambda: {"use_default_callbacks": True}),
    Setup("metrics", lambda folder: [*metrics(l1(), SmoothLoss()), Traces({"bias": lambda learner: 1.0})]),
    Setup("one cycle", lambda folder: [Scheduler({LearningRate: onecycle(9, 0.1)})]),
    Setup("two schedules", lambda folder: [Scheduler({LearningRate: Exp(0.1, 0.9), Momentum: Exp(0.9, 0.99)})]),
    Setup(
        "a schedule of torch",
        lambda folder: [
            Scheduler({LearningRate: TorchSchedule(torch.optim.lr_scheduler.StepLR, start=0.1, step_size=2)})
        ],
    ),
    Setup("early stopping", lambda folder: [EarlyStopping(NumberLimit(4)), *metrics()]),
    Setup("patience", lambda folder: [EarlyStopping(Patience(1) + UP(2) + GL(0.1)), *metrics()]),
    Setup("more criteria", lambda folder: [EarlyStopping(PQ(0.1) + NumberSinceBest(2) + Threshold(0.0)), *metrics()]),
    Setup("the best weights restored", lambda folder: [EarlyStopping(NumberLimit(3), restore_best=True), *metrics()]),
    Setup("sanity checks", lambda folder: [SanityCheck()], model=deep),
    Setup("a device", lambda folder: [ToDevice(lambda xs: xs.clone(), lambda model: model), GarbageCollect(2)]),
    Setup("bfloat16", lambda folder: [MixedPrecision()], model=deep),
    Setup("float16", lambda folder: [in_float16(), treadle_optim.Accumulate(2)], model=deep),
    Setup("logs", logs),
    Setup(
        "hyperparameters and histograms logged",
        lambda folder: [
            Recorder(),
            Scheduler({LearningRate: Exp(0.1, 0.9)}),
            LogHyperParams(CSVBackend(folder / "hyper.csv", append=(folder / "hyper.csv").exists())),
            LogHistograms(TensorBoardBackend(folder / "tensorboard"), freq=2),
        ],
    ),
    Setup("logs with validation inside", lambda folder: [*logs(folder), ValidateInside()]),
    Setup("threads", logs, options=lambda: {"use_default_callbacks": True, "runner": ThreadedRunner()}),
    Setup(
        "everything",
        lambda folder: [
            *logs(folder),
            ValidateInside(),
            Average(),
            Noise(),
            treadle_optim.Accumulate(3),
            EarlyStopping(Patience(5)),
            SanityCheck(),
            Scheduler({LearningRate: onecycle(9, 0.1)}),
        ],
        model=deep,
        data=lambda: (DataLoader(Augmented(), 4, shuffle=True), DataLoader(Augmented(2), 4)),
    ),
    # Ways to train.
    Setup("points in validation too", during=Phase),
    Setup("validation first", train=in_phases(ValidationPhase(), TrainingPhase())),
    Setup("two training phases", train=in_phases(TrainingPhase(), Often())),
]
