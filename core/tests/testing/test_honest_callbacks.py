"""Callbacks that keep every promise, in every way that a callback can be written: they pass every check."""

import io
import random
import signal
from typing import ClassVar

import pytest
import torch
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    EpochEnd,
    Phase,
    Read,
    Series,
    StepEnd,
    ValidationPhase,
    Write,
    hookimpl,
    throttle,
)
from treadle.authoring import named_tensors
from treadle.testing import check_callback

HONEST = []


def honest(cls):
    """Note a callback's class, or a function that makes one."""
    HONEST.append(cls)
    return cls


@honest
class CancelsSteps(Callback):
    """Leaves out every third batch."""

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.step % 3 == 0:
            raise CancelStepException("every third")


@honest
class CancelsStepsByTheirLoss(Callback):
    """Learns nothing from batches whose loss is large."""

    state_access = {"step.loss": Read}

    def on_backward_begin(self, learner):
        if learner.step.loss > 0.5:
            raise CancelStepException("too large")


@honest
class CancelsEpochs(Callback):
    """Ends each epoch with its second step."""

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.step == 2:
            raise CancelEpochException("two are enough")


@honest
class CancelsFits(Callback):
    """Ends the fit after some steps."""

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.steps == 5:
            raise CancelFittingException("five are enough")


@honest
class StopsWhenItGetsWorse(Callback):
    """Stops at the first validation that is worse than the best."""

    state_access = {"step.loss": Read}
    best = float("inf")

    def on_epoch_end(self, learner, phase: AbstractValidationPhase):
        loss = learner.step.loss.item()
        if loss > self.best:
            raise CancelFittingException("worse")
        self.best = loss

    def state_dict(self):
        return {"best": self.best}

    def load_state_dict(self, state):
        self.best = state["best"]


@honest
class WrapsEveryOperation(Callback):
    """Counts what is under way, and lets it be."""

    depth = 0

    @hookimpl(wrapper=True)
    def epoch(self):
        return (yield from self.counted())

    @hookimpl(wrapper=True)
    def step(self):
        return (yield from self.counted())

    @hookimpl(wrapper=True)
    def forward(self):
        return (yield from self.counted())

    @hookimpl(wrapper=True)
    def loss(self):
        return (yield from self.counted())

    @hookimpl(wrapper=True)
    def backward(self):
        return (yield from self.counted())

    @hookimpl(wrapper=True)
    def update(self):
        return (yield from self.counted())

    def counted(self):
        self.depth += 1
        try:
            return (yield)
        finally:
            self.depth -= 1


@honest
class WrapsForward(Callback):
    """Makes the outputs smaller, which is declared by wrapping the operation."""

    @hookimpl(wrapper=True)
    def forward(self, phase: AbstractTrainingPhase):
        return 0.9 * (yield)


@honest
class OverridesLoss(Callback):
    """Another loss function for training."""

    state_access = {"step.yhats": Read, "step.ys": Read}

    def loss(self, learner, phase: AbstractTrainingPhase):
        return (learner.step.yhats - learner.step.ys).square().mean()


@honest
class Accumulates(Callback):
    """Updates in every second step, with the gradients of two."""

    def accumulate(self, learner):
        return learner.progress.accumulated % 2 == 0


@honest
class OverridesUpdate(Callback):
    """Lets the optimizers step by itself."""

    state_access = {"optimizer": Write, "params": Write}

    def update(self, learner):
        optimizers = learner.optimizer
        for optimizer in optimizers.values() if hasattr(optimizers, "values") else [optimizers]:
            optimizer.step()
        return True


@honest
class HalvesTheLoss(Callback):
    """Divides each loss, as accumulation does."""

    @hookimpl(wrapper=True)
    def loss(self, phase: AbstractTrainingPhase):
        return (yield) / 2


@honest
class Autocast(Callback):
    """A lower precision for the forward pass."""

    @hookimpl(wrapper=True)
    def forward(self):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return (yield).float()


@honest
class Average(Callback):
    """Averaged weights for validation, with a state."""

    state_access = {"params": Write}

    def __init__(self):
        self.average = {}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        for name, parameter in named_tensors(learner.params):
            self.average[name] = self.average.get(name, parameter.detach()).lerp(parameter.detach(), 0.1)

    @hookimpl(wrapper=True)
    def epoch(self, learner, phase: AbstractValidationPhase):
        weights = {name: parameter.detach().clone() for name, parameter in named_tensors(learner.params)}
        try:
            self.use(learner, self.average)
            return (yield)
        finally:
            self.use(learner, weights)

    def use(self, learner, values):
        for name, parameter in named_tensors(learner.params):
            if name in values:
                parameter.data.copy_(values[name])

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = dict(state["average"])


@honest
class Swap(Callback):
    """Rounds the weights for validation and puts them back."""

    state_access = {"params": Write}

    @hookimpl(wrapper=True)
    def epoch(self, learner, phase: AbstractValidationPhase):
        weights = [(parameter, parameter.detach().clone()) for _, parameter in named_tensors(learner.params)]
        try:
            for parameter, value in weights:
                parameter.data.copy_(value.round(decimals=1))
            return (yield)
        finally:
            for parameter, value in weights:
                parameter.data.copy_(value)


@honest
class Freezes(Callback):
    """Trains all but the first parameter in the first epoch."""

    state_access = {"params": Write}

    def on_epoch_begin(self, learner, phase: AbstractTrainingPhase):
        names = [name for name, _ in named_tensors(learner.params)]
        for name, parameter in named_tensors(learner.params):
            parameter.requires_grad_(len(names) == 1 or name != names[0] or learner.progress.epoch > 1)


@honest
class Clips(Callback):
    """Clips gradients by their value."""

    state_access = {"step.grads": Write}

    def on_backward_end(self, learner):
        for _, gradient in named_tensors(learner.step.grads):
            gradient.clamp_(-0.1, 0.1)


@honest
class Noise(Callback):
    """Adds noise to the inputs, from a generator whose state is kept."""

    state_access = {"step.xs": Write}

    def __init__(self):
        self.generator = torch.Generator().manual_seed(1)

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        xs = learner.step.xs
        learner.step.xs = xs + 0.1 * torch.randn(xs.shape, generator=self.generator)

    def state_dict(self):
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state):
        self.generator.set_state(state["generator"])


@honest
class Picks(Callback):
    """Picks steps by a generator of its own, which a checkpoint finds by itself."""

    state_access = {"cbstate.picked": Write}

    def __init__(self):
        self.rng = random.Random(0)

    def on_init(self, learner):
        learner.cbstate.picked = []

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if self.rng.random() < 0.5:
            learner.cbstate.picked = [*learner.cbstate.picked, learner.progress.steps]


@honest
class Warmup(Callback):
    """A learning rate that rises with the steps of the run."""

    state_access = {"optimizer": Write}

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        optimizers = learner.optimizer
        for optimizer in optimizers.values() if hasattr(optimizers, "values") else [optimizers]:
            for group in optimizer.param_groups:
                group["lr"] = 0.001 * min(1.0, (learner.progress.steps + 1) / 10)


@honest
class Records(Callback):
    """Records losses as a series."""

    state_access = {"step.loss": Read, "cbstate.losses": Write}

    def on_init(self, learner):
        learner.cbstate.losses = Series()

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        learner.cbstate.losses.push(learner.progress.steps, learner.step.loss.detach())


@honest
class MeanOfEpochs(Callback):
    """The mean loss of an epoch, also of one that was resumed."""

    state_access = {"step.loss": Read, "cbstate.mean": Write}

    def __init__(self):
        self.total, self.count = torch.zeros(()), 0

    def on_epoch_begin(self, phase: AbstractTrainingPhase):
        self.total, self.count = torch.zeros(()), 0

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.total, self.count = self.total + learner.step.loss.detach(), self.count + 1

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        learner.cbstate.mean = (self.total / max(1, self.count)).item()

    def state_dict(self):
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state):
        self.total, self.count = state["total"], state["count"]


@honest
class ReadsTheMean(Callback):
    """Reads what another callback computes."""

    state_access = {"cbstate.mean": Read}
    run_after = (MeanOfEpochs,)
    partners: ClassVar = [MeanOfEpochs]

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        self.shown = f"{learner.cbstate.mean:.3f}"


@honest
class Prints(Callback):
    """Prints a line after each epoch."""

    def on_epoch_end(self, learner, phase: Phase):
        print(type(phase).__name__, learner.progress.epoch)


@honest
class Files(Callback):
    """Writes lines to a file that is open while a fit runs."""

    state_access = {"step.loss": Read}

    def on_fit_begin(self):
        self.file = io.StringIO()

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        self.file.write(f"{learner.step.loss.item()}\n")

    def on_fit_end(self):
        self.file.close()
        del self.file


@honest
class Signals(Callback):
    """Ends the fit after the step in which a signal comes; only the main thread may set handlers of signals."""

    state_access: ClassVar = {"loop": Write}
    asked = False

    def on_fit_begin(self):
        self.before = signal.signal(signal.SIGTERM, self.ask)

    def ask(self, number, frame):
        self.asked = True

    def on_step_end(self):
        if self.asked:
            raise CancelFittingException("a signal")

    def on_fit_end(self):
        signal.signal(signal.SIGTERM, self.before)


@honest
class Outputs(Callback):
    """Collects the outputs of a layer in each step, by hooks that it removes."""

    state_access = {"model": Read}

    @hookimpl(wrapper=True)
    def step(self, learner, phase: AbstractTrainingPhase):
        models = learner.model
        first = next(iter(models.values())) if hasattr(models, "values") else models
        handle = first.register_forward_hook(self.seen)
        try:
            return (yield)
        finally:
            handle.remove()

    def seen(self, module, inputs, output):
        self.shape = tuple(output.shape)


@honest
class Deterministic(Callback):
    """Deterministic algorithms while a fit runs."""

    def on_fit_begin(self):
        self.before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)

    def on_fit_end(self):
        torch.use_deterministic_algorithms(self.before)


@honest
class NumbersAtTheEnd(Callback):
    """Keeps the last loss as a tensor until somebody asks."""

    state_access = {"step.loss": Read}
    last = None

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.last = learner.step.loss.detach()

    def on_fit_end(self):
        self.number = None if self.last is None else self.last.item()


@honest
class ValidatesInside(Callback):
    """Validates after the second step of each epoch."""

    state_access = {"loop": Write, "data": Read}

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.progress.step == 2 and "validation" in learner.data:
            learner.loop.epoch(ValidationPhase())


@honest
class OwnEntry(Callback):
    """Makes an entry of the step that others may read."""

    state_access = {"step.error": Write, "step.yhats": Read, "step.ys": Read}

    def on_loss_begin(self, learner):
        learner.step.error = (learner.step.yhats - learner.step.ys).detach()


@honest
def throttled():
    """Every third step of training and validation."""
    return throttle(Records(), StepEnd, freq=3)


@honest
def of_a_function():
    return CustomCallback(
        lambda learner: learner.step.loss.detach(), EpochEnd, AbstractTrainingPhase, {"step.loss": Read}
    )


@pytest.mark.parametrize("callback", HONEST)
def test_an_honest_callback_passes_every_check(callback):
    report = check_callback(callback, partners=getattr(callback, "partners", ()), nbatches=3)
    assert report.failed == 0
