"""A small run with everything that can go wrong in it, and what to compare of two runs."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from loguru import logger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Callback, Learner, Phase, PropDict, Series, Write, hookimpl
from treadle_checkpoint import Checkpointer, checkpoints, resume


@pytest.fixture(autouse=True)
def one_thread_and_the_generators_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads(), random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    random.setstate(before[1])
    numpy.random.set_state(before[2])
    torch.set_rng_state(before[3])


@pytest.fixture
def loguru_warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    yield messages
    logger.remove(sink)


class Forgetful(Callback):
    """Starts anew with every fit and every epoch, and knows nothing of resuming."""

    def __init__(self) -> None:
        self.fits = self.in_fit = self.in_epoch = 0
        self.mean = torch.zeros(())

    def on_fit_begin(self) -> None:
        self.fits += 1
        self.in_fit, self.mean = 0, torch.zeros(())

    def on_epoch_begin(self) -> None:
        self.in_epoch = 0

    def on_step_end(self) -> None:
        self.in_fit += 1
        self.in_epoch += 1
        self.mean += torch.rand(())

    def state_dict(self) -> dict[str, Any]:
        return {"fits": self.fits, "in_fit": self.in_fit, "in_epoch": self.in_epoch, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Chance(Callback):
    """Draws from every generator at every event, also where an epoch begins."""

    state_access = {"cbstate.drawn": Write}

    def on_init(self, learner: Any) -> None:
        learner.cbstate.drawn = PropDict(series=Series(), last=None, by_kind={})

    def draw(self, learner: Any) -> None:
        drawn = learner.cbstate.drawn
        drawn.last = (random.random(), float(numpy.random.rand()), torch.rand(2))
        drawn.by_kind["python"] = drawn.last[0]
        drawn.series.push(len(drawn.series), drawn.last[1])

    on_fit_begin = on_epoch_begin = on_step_begin = on_step_end = on_epoch_end = draw


class Timer(Callback):
    """Changes its own state after the epoch and after the step, when all their handlers have run."""

    name = "A timer that sorts first"

    def __init__(self) -> None:
        self.ended = [0, 0]

    @hookimpl(wrapper=True)
    def epoch(self) -> Iterator[None]:
        result = yield
        self.ended[0] += 1
        return result

    @hookimpl(wrapper=True)
    def step(self) -> Iterator[None]:
        result = yield
        self.ended[1] += 1
        return result

    def state_dict(self) -> dict[str, Any]:
        return {"ended": self.ended}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ended = state["ended"]


@pytest.fixture
def dataset() -> TensorDataset:
    return points()


def points(n: int = 32) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    xs = torch.randn(n, 3, generator=generator)
    return TensorDataset(xs, xs.sum(1, keepdim=True))


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))


@pytest.fixture
def make() -> Callable[..., Learner]:
    """Makes a learner: 4 batches of training and 2 of validation, shuffled, dropout, batch norm, Adam."""

    def learner(*callbacks: Callback, seed: int = 0, **settings: Any) -> Learner:
        random.seed(seed)
        numpy.random.seed(seed)
        torch.manual_seed(seed)
        data = settings.pop("data", None)
        if data is None:
            data = (DataLoader(points(), 8, shuffle=True), DataLoader(points(16), 8, shuffle=True))
        settings = {"optimizer": torch.optim.Adam, "use_default_callbacks": False, **settings}
        lossfn = settings.pop("lossfn", nn.functional.mse_loss)
        return Learner(settings.pop("model", None) or net(), lossfn, data=data, callbacks=callbacks, **settings)

    return learner


@pytest.fixture
def all_of() -> Callable[[Learner], dict[str, Any]]:
    """What a run has come to: everything that has to be equal bit for bit."""

    def everything(learner: Learner) -> dict[str, Any]:
        models = learner.model if isinstance(learner.model, Mapping) else {"": learner.model}
        optimizers = learner.optimizer if isinstance(learner.optimizer, Mapping) else {"": learner.optimizer}
        progress = learner.progress
        return {
            "models": {name: dict(model.state_dict()) for name, model in models.items()},
            "frozen": {name: [p.requires_grad for p in model.parameters()] for name, model in models.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            "callbacks": {
                c.name: c.state_dict() for c in learner.callbacks if c.name != "Checkpointer" and c.state_dict()
            },
            "cbstate": learner.cbstate,
            "progress": [getattr(progress, name) for name in progress.__slots__],
            "rounds": learner.position.rounds,
            "random": [random.getstate(), numpy.random.get_state(), torch.get_rng_state()],
        }

    return everything


@pytest.fixture
def differences() -> Callable[[Any, Any], list[str]]:
    """Where two things differ in a bit, a type or a name; there is no tolerance."""

    def compare(one: Any, other: Any, path: str = "") -> list[str]:
        if isinstance(one, torch.Tensor):
            same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
            return [] if same else [path]
        if isinstance(one, numpy.ndarray):
            return [] if numpy.array_equal(one, other) else [path]
        if isinstance(one, Mapping):
            if list(one) != list(other):
                return [f"{path}: {list(one)} is not {list(other)}"]
            return [found for name in one for found in compare(one[name], other[name], f"{path}/{name}")]
        if isinstance(one, list | tuple):
            if type(one) is not type(other) or len(one) != len(other):
                return [f"{path}: {one!r:.40} is not {other!r:.40}"]
            pairs = enumerate(zip(one, other, strict=True))
            return [found for i, pair in pairs for found in compare(*pair, f"{path}/{i}")]
        if hasattr(one, "state_dict"):
            return compare(one.state_dict(), other.state_dict(), path)
        return [] if type(one) is type(other) and one == other else [f"{path}: {one!r:.40} is not {other!r:.40}"]

    return compare


@pytest.fixture
def watchers() -> Callable[[], list[Callback]]:
    """Makes the callbacks with whose state a resumption is most easily got wrong."""
    return lambda: [Chance(), Forgetful(), Timer()]


@pytest.fixture
def resumed_everywhere(
    tmp_path: Path, all_of: Callable[..., Any], differences: Callable[..., list[str]]
) -> Callable[..., int]:
    """Runs a learner, runs it with a checkpoint after every step and epoch, and resumes from each of them.

    All of these end in the same; the number of checkpoints is returned.
    """

    def check(build: Callable[..., Learner], run: Callable[[Learner], Any] = lambda learner: learner.fit(2)) -> int:
        whole = build()
        run(whole)
        expected = copy.deepcopy(all_of(whole))
        saving = build(Checkpointer(tmp_path / "run", every_epochs=1, every_steps=1, during=Phase, phase=Phase))
        run(saving)
        assert differences(expected, all_of(saving)) == []
        entries = checkpoints(tmp_path / "run")
        for entry in entries:
            resumed = build(seed=7)
            assert resume(resumed, entry.path) == entry.path
            run(resumed)
            assert (entry.path.name, differences(expected, all_of(resumed))) == (entry.path.name, [])
        return len(entries)

    return check
