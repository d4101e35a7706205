"""The work that is measured: a small network, the loop by hand, and the same loop in each framework."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

Batches = list[tuple[torch.Tensor, torch.Tensor]]
Run = Callable[[Batches], object]


def batches(count: int = 2000, rows: int = 32) -> Batches:
    """Prepared batches of inputs (rows, 32) and targets (rows, 1)."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(rows, 32, generator=generator) for _ in range(count)]
    return [(xs, xs.sum(dim=1, keepdim=True)) for xs in inputs]


def network() -> nn.Module:
    """An MLP 32-64-64-1, always with the same weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def sgd(parameters: Any) -> torch.optim.Optimizer:
    """The cheapest optimizer, so that what a framework adds shows most."""
    return torch.optim.SGD(parameters, lr=0.01)


def by_hand() -> Run:
    """The loop as one writes it without a framework."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())

    def run(data: Batches) -> None:
        model.train()
        for xs, ys in data:
            optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            loss.backward()
            optimizer.step()

    return run


def by_hand_accumulated(n: int) -> Run:
    """The same with an update for every `n` batches, the last of which may have fewer."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())

    def run(data: Batches) -> None:
        model.train()
        for i, (xs, ys) in enumerate(data, 1):
            if i % n == 1:
                optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            (loss / n).backward()
            if i % n == 0 or i == len(data):
                if i % n:
                    for parameter in model.parameters():
                        parameter.grad *= n / (i % n)
                optimizer.step()

    return run


def by_hand_clipped(norm: float) -> Run:
    """The same with gradients that are clipped by torch."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())

    def run(data: Batches) -> None:
        model.train()
        for xs, ys in data:
            optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), norm)
            optimizer.step()

    return run


def by_hand_with_ema() -> Run:
    """The same with torch's exponential moving average of the weights."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))  # type: ignore[no-untyped-call]

    def run(data: Batches) -> None:
        model.train()
        for xs, ys in data:
            optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            loss.backward()
            optimizer.step()
            averaged.update_parameters(model)

    return run


def by_hand_in_bf16() -> Run:
    """The loop by hand with the forward pass and the loss under autocast."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())

    def run(data: Batches) -> None:
        model.train()
        for xs, ys in data:
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = lossfn(model(xs), ys)
            loss.backward()
            optimizer.step()

    return run


def with_treadle(callbacks: tuple[Any, ...] = ()) -> Run:
    """The loop as a learner with these callbacks and no others."""
    from treadle import Learner

    learner = Learner(network(), nn.MSELoss(), optimizer=sgd, callbacks=callbacks, use_default_callbacks=False)
    return lambda data: learner.fit(1, (data,))


def with_train() -> Run:
    """The loop as Flux.jl's `train`, in its implicit style."""
    from treadle_flux import params, train

    model, lossfn = network(), nn.MSELoss()
    optimizer, parameters = sgd(model.parameters()), params(model)
    return lambda data: train(lambda xs, ys: lossfn(model(xs), ys), parameters, data, optimizer)


def rows(count: int = 60_000) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (count, 32) and targets (count, 1) in memory."""
    xs = torch.randn(count, 32, generator=torch.Generator().manual_seed(0))
    return xs, xs.sum(dim=1, keepdim=True)


def gathered_by_hand(batchsize: int = 32) -> Callable[[], Iterator[Any]]:
    """A shuffled pass over rows in memory as one writes it: a gather for each batch."""
    xs, ys = rows()

    def run() -> Iterator[Any]:
        order = torch.randperm(len(xs))
        for i in range(0, len(xs), batchsize):
            yield xs[order[i : i + batchsize]], ys[order[i : i + batchsize]]

    return run


def loaded_by_torch(batchsize: int = 32) -> Callable[[], Iterator[Any]]:
    """The same from torch's loader."""
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(*rows()), batchsize, shuffle=True)
    return lambda: iter(loader)


def loaded_from_memory(batchsize: int = 32) -> Callable[[], Iterator[Any]]:
    """The same from the loader of treadle-flux."""
    from treadle_flux import DataLoader

    loader = DataLoader(rows(), batchsize, shuffle=True)
    return lambda: iter(loader)


def with_default_callbacks(*others: Any) -> Run:
    """The loop as a learner with its five default callbacks, and others; what they print goes nowhere."""
    from treadle import Learner
    from treadle_progress import MetricsPrinter, ProgressPrinter

    null = NullStream()
    learner = Learner(
        network(),
        nn.MSELoss(),
        optimizer=sgd,
        callbacks=[ProgressPrinter(file=null), MetricsPrinter(file=null), *others],
    )
    assert {callback.name for callback in learner.callbacks} >= {
        "MetricsPrinter", "Metrics", "ProgressPrinter", "Recorder", "StopOnNaNLoss",
    }  # fmt: skip
    return lambda data: learner.fit(1, (data,))


class NullStream(io.TextIOBase):
    """A stream that takes everything and keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


def with_ignite(*, bar: bool = False) -> Run:
    """The loop as an Ignite trainer, with nothing attached or with its progress bar."""
    from ignite.contrib.handlers import ProgressBar
    from ignite.engine import create_supervised_trainer

    model = network()
    trainer = create_supervised_trainer(model, sgd(model.parameters()), nn.MSELoss())
    if bar:
        ProgressBar(file=NullStream()).attach(trainer, output_transform=lambda loss: {"loss": loss})
    return lambda data: trainer.run(data, max_epochs=1)


class Prepared:
    """Batches as a loader; a list would be several loaders to Lightning."""

    def __init__(self, data: Batches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


def with_lightning(*, bar: bool = False) -> Run:
    """The loop as a Lightning trainer, with everything off or with its progress bar."""
    import logging
    import warnings

    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.lossfn = network(), nn.MSELoss()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            xs, ys = batch
            loss: torch.Tensor = self.lossfn(self.network(xs), ys)
            if bar:
                self.log("loss", loss, prog_bar=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.parameters())

    module = Module()

    def run(data: Batches) -> None:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=bar, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(module, train_dataloaders=Prepared(data))

    return run
