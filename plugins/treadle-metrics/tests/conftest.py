"""Phases whose losses are scripted, and tensors that are on no real device."""

import pytest
import torch
from treadle import Phase, run_step, toy_learner


class Scripted(Phase):
    """Its batches are the losses of its steps; None is a step without a loss."""

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            if batch is not None:
                state.loss = batch if isinstance(batch, torch.Tensor) else torch.tensor(batch, dtype=torch.float64)


class Other(Scripted):
    pass


class Answers(Phase):
    """Its batches are outputs and targets."""

    def step(self, learner, batch):
        with run_step(learner, self, ys=batch[1]) as (_, state):
            state.yhats = batch[0]


class FarTensor(torch.Tensor):
    """A tensor that seems to be on an accelerator, and notes who makes the host wait for it."""

    waits: list[str] = []

    @staticmethod
    def __new__(cls, near):
        return torch.Tensor._make_wrapper_subclass(cls, near.size(), dtype=near.dtype, device="meta")

    def __init__(self, near):
        self.near = near

    def __repr__(self):
        return f"FarTensor({self.near})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "is_nonzero", "equal", "_unique2"):
            cls.waits.append(name)
        to_host = name == "_to_copy" and kwargs.get("device") == torch.device("cpu")
        if to_host and not kwargs.pop("non_blocking", False):
            cls.waits.append(name)
        if name == "_to_copy":
            kwargs.pop("device", None)
        near, kwargs = torch.utils._pytree.tree_map_only(FarTensor, lambda far: far.near, (args, kwargs))
        result = func(*near, **kwargs)
        return FarTensor(result) if isinstance(result, torch.Tensor) and not to_host else result


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def other():
    return Other()


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def learner():
    """Makes a learner with some callbacks; what it trains plays no part."""
    return toy_learner


@pytest.fixture
def far(monkeypatch):
    """Makes tensors of an accelerator; `far.waits` lists what made the host wait."""
    FarTensor.waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: FarTensor.waits.append("synchronize"))
    return FarTensor
