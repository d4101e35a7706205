"""Callbacks with a bug in what they keep: a resumed run is another one."""

import pytest
import torch
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    Callback,
    CancelFittingException,
    Read,
    Write,
    hookimpl,
)
from treadle.authoring import named_tensors

FIX = "Fix: return from state_dict all that its handlers go on from, and take it over in load_state_dict."


class Averaged(Callback):
    """Validates averaged weights, which no checkpoint holds."""

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
            for name, parameter in named_tensors(learner.params):
                parameter.data.copy_(self.average[name])
            return (yield)
        finally:
            for name, parameter in named_tensors(learner.params):
                parameter.data.copy_(weights[name])


class HiddenBest(Callback):
    """Counts the epochs that are better than all before, and forgets which was the best."""

    state_access = {"step.loss": Read, "cbstate.improved": Write}
    best = float("inf")

    def on_init(self, learner):
        learner.cbstate.improved = 0

    def on_epoch_end(self, learner, phase: AbstractValidationPhase):
        if learner.step.loss < self.best:
            self.best = learner.step.loss.item()
            learner.cbstate.improved += 1


class HiddenBestThatStops(Callback):
    """Stops at the first loss above the best, and forgets which was the best."""

    state_access = {"step.loss": Read}
    best = float("inf")

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.step.loss > 1.5 * self.best:
            raise CancelFittingException("worse")
        self.best = min(self.best, learner.step.loss.item())


class HiddenRate(Callback):
    """Sets the learning rate by a count of its own that no checkpoint holds."""

    state_access = {"optimizer": Write}
    count = 0

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        self.count += 1
        learner.optimizer.param_groups[0]["lr"] = 0.1 / self.count


class HiddenMomentum(Callback):
    """Adds a momentum to the gradients that no checkpoint holds."""

    state_access = {"step.grads": Write}

    def __init__(self):
        self.velocity = {}

    def on_backward_end(self, learner):
        for name, gradient in named_tensors(learner.step.grads):
            self.velocity[name] = 0.9 * self.velocity.get(name, torch.zeros_like(gradient)) + gradient
            gradient.copy_(self.velocity[name])


class PartOfAnEpoch(Callback):
    """Collects the losses of an epoch, and in the middle of one a checkpoint lacks those so far."""

    state_access = {"step.loss": Read, "cbstate.sum": Write}

    def on_init(self, learner):
        learner.cbstate.sum = 0.0

    def on_epoch_begin(self, phase: AbstractTrainingPhase):
        self.losses = []

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.losses.append(learner.step.loss.detach())

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        learner.cbstate.sum += sum(self.losses, torch.zeros(())).item()


class EmptyEpoch(PartOfAnEpoch):
    """Collects the losses of an epoch, and cannot do without one."""

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        learner.cbstate.sum += torch.stack(self.losses[3:]).sum().item()


class HalfLoaded(Callback):
    """Returns two values and takes over one."""

    first, second = 0, 0

    def on_step_end(self):
        self.first, self.second = self.first + 1, self.second + 2

    def state_dict(self):
        return {"first": self.first, "second": self.second}

    def load_state_dict(self, state):
        self.first = state["first"]


class LoadedTooEarly(Callback):
    """Takes over its state and then starts from nothing again at the next epoch."""

    state_access = {"cbstate.total": Write}
    total = 0

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.total += 1
        learner.cbstate.total = self.total

    def state_dict(self):
        return {"total": 0}

    def load_state_dict(self, state):
        self.total = state["total"]


class Frozen(Callback):
    """Freezes a layer once, by an attribute that says whether it has, and unfreezes it again after a resume."""

    state_access = {"model": Write}
    done = False

    def on_epoch_end(self, learner, phase: AbstractTrainingPhase):
        layer = next(iter(learner.model.children()), learner.model)
        layer.requires_grad_(self.done)
        self.done = not self.done


class SetOfEpochs(Callback):
    """Keeps a set, which no checkpoint can hold."""

    def __init__(self):
        self.seen = set()

    def on_epoch_end(self, learner):
        self.seen.add(learner.progress.epoch)

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Function(Callback):
    """Keeps a function in `cbstate`."""

    state_access = {"cbstate.function": Write}

    def on_init(self, learner):
        learner.cbstate.function = print


BUGS = [
    (Averaged, r"^Resumed from a checkpoint .*, what validation gave differs at the end\.", FIX),
    (HiddenBest, r"the contents of `cbstate\.improved` differ at the end\.", FIX),
    (HiddenBestThatStops, r"the fit ended after .* instead of after .* \(cancelled: worse\)\.", FIX),
    (HiddenRate, r"the weights differ at the end\.", FIX),
    (HiddenMomentum, r"the weights differ at the end\.", FIX),
    (
        PartOfAnEpoch,
        r"^Resumed from a checkpoint after step 1 of epoch 1, the contents of `cbstate\.\w+` differ at the end\.",
        FIX,
    ),
    (
        EmptyEpoch,
        r"^Resumed from a checkpoint after step 1 of epoch 1, the fit failed:\nRuntimeError: .*\nRaised by EmptyEpoch",
        FIX,
    ),
    (HalfLoaded, r"^After load_state_dict, state_dict returns something else than was loaded\.", FIX),
    (LoadedTooEarly, r"the contents of `cbstate\.total` differ at the end\.", FIX),
    (Frozen, r"the weights differ at the end\.", FIX),
    (SetOfEpochs, r"^A checkpoint cannot hold callbacks/SetOfEpochs/state/seen, a set", "Fix: "),
    (Function, r"^A checkpoint cannot hold cbstate/function", "Fix: "),
]


@pytest.mark.parametrize(("bug", "cause", "fix"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_bug_is_found_with_its_cause_and_its_fix(bug, cause, fix, found):
    result = found(bug, "state")
    assert result.outcome == "failed"
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(result.detail)
    assert fix in result.detail


def test_an_attribute_that_a_resumed_run_has_otherwise_is_a_remark(found):
    class Highest(Callback):
        state_access = {"step.loss": Read}
        highest = float("-inf")

        def on_step_end(self, learner, phase: AbstractTrainingPhase):
            self.highest = max(self.highest, learner.step.loss.item())

    result = found(Highest, "state")
    assert result.outcome == "passed"
    assert result.remarks == (
        "After a resume its attribute `highest` has another value in the end, and state_dict does not hold it.\n"
        'Fix: if a decision depends on it, return it from state_dict:\n    return {"highest": self.highest}',
    )
