"""Phases whose losses are scripted, tensors that are on no real device, and runs that are resumed."""

from itertools import islice

import pytest
import torch
from treadle import Callback, Phase, hookimpl, run_step, toy_learner
from treadle.authoring import capture_run


class Scripted(Phase):
    """Its batches are the losses of its steps; None is a step without a loss."""

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            if batch is not None:
                state.loss = batch if isinstance(batch, torch.Tensor) else torch.tensor(batch, dtype=torch.float64)


class Other(Scripted):
    pass


class Outputs(Phase):
    """Its batches are outputs and targets."""

    def step(self, learner, batch):
        with run_step(learner, self, ys=batch[1]) as (_, state):
            state.yhats = batch[0]


class FarTensor(torch.Tensor):
    """A tensor that seems to be on an accelerator, and notes what makes the host wait for it."""

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


class Saved:
    """A run at one moment, which another learner resumes; see `treadle.loop.position.Resumption`."""

    def __init__(self, learner, phase=None, batches=0):
        self.phase, self.batches = phase, batches
        self.state, self.rounds = capture_run(learner), learner.position.rounds

    def resume(self, learner):
        self.learner = learner
        learner.position.resumption = self

    def put_back(self):
        self.state.put_back(self.learner)
        self.learner.position.rounds = self.rounds

    def begin(self, length):
        self.put_back()

    def restore(self):
        self.put_back()
        if self.phase is None:
            self.learner.position.resumption = None

    def rest(self, phase, data):
        self.put_back()
        position = self.learner.position
        position.resumption, position.skipped, self.learner.progress.step = None, self.batches, self.batches
        return islice(data, self.batches, None)


class Saving(Callback):
    """Saves a run before every epoch and around every step, apart from those inside of another epoch."""

    def __init__(self, learner):
        self.learner, self.saved, self.phase, self.batches = learner, [], None, 0

    @hookimpl(wrapper=True)
    def epoch(self, phase):
        if self.phase is not None:
            return (yield)
        self.saved.append(Saved(self.learner))
        self.phase, self.batches = phase, 0
        result = yield
        self.phase = None
        return result

    @hookimpl(wrapper=True)
    def step(self, phase):
        if phase != self.phase:
            return (yield)
        self.saved.append(Saved(self.learner, phase, self.batches))
        result = yield
        self.batches += 1
        self.saved.append(Saved(self.learner, phase, self.batches))
        return result


@pytest.fixture
def resumed_everywhere():
    """Resumes two epochs of some phases wherever they could be interrupted; all end with equal records and states."""

    def outcome(learner):
        return dict(learner.cbstate), [callback.state_dict() for callback in learner.callbacks]

    def check(make, *phases):
        whole, observed = make(), make()
        whole.fit(2, phases=phases)
        saving = Saving(observed)
        observed.add_callback(saving)
        observed.fit(2, phases=phases)
        for saved in saving.saved:
            resumed = make()
            saved.resume(resumed)
            resumed.fit(2, phases=phases)
            assert (saved.phase, saved.batches, *outcome(resumed)) == (saved.phase, saved.batches, *outcome(whole))
        return len(saving.saved)

    return check


@pytest.fixture
def scripted():
    return Scripted()


@pytest.fixture
def other():
    return Other()


@pytest.fixture
def outputs():
    return Outputs()


@pytest.fixture
def learner():
    """Makes a learner with some callbacks; what it trains does not matter."""
    return toy_learner


@pytest.fixture
def far(monkeypatch):
    """Makes tensors of an accelerator; `far.waits` lists what made the host wait."""
    FarTensor.waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: FarTensor.waits.append("synchronize"))
    return FarTensor
