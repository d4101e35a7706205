"""Callbacks that put nothing back after an error, or keep the error from the user."""

import pytest
import torch
from treadle import AbstractTrainingPhase, AbstractValidationPhase, Callback, FitException, Write, hookimpl
from treadle.authoring import named_tensors

LEFT = "Fix: put it back in a wrapper, on every way out:\n    @hookimpl(wrapper=True)"
SWALLOWED = "Fix: raise again what a wrapper catches"


class SwapWithoutFinally(Callback):
    """Validates with other weights, and puts the own ones back where nothing fails."""

    state_access = {"params": Write}

    @hookimpl(wrapper=True)
    def epoch(self, learner, phase: AbstractValidationPhase):
        weights = [parameter.detach().clone() for _, parameter in named_tensors(learner.params)]
        for _, parameter in named_tensors(learner.params):
            parameter.data.mul_(0.5)
        result = yield
        for (_, parameter), value in zip(named_tensors(learner.params), weights, strict=True):
            parameter.data.copy_(value)
        return result


class SwapInEvents(Callback):
    """Validates with other weights, from one event to the other."""

    state_access = {"params": Write}

    def on_epoch_begin(self, learner, phase: AbstractValidationPhase):
        self.weights = [parameter.detach().clone() for _, parameter in named_tensors(learner.params)]
        for _, parameter in named_tensors(learner.params):
            parameter.data.mul_(0.5)

    def on_epoch_end(self, learner, phase: AbstractValidationPhase):
        for (_, parameter), value in zip(named_tensors(learner.params), self.weights, strict=True):
            parameter.data.copy_(value)


class RateWithoutFinally(Callback):
    """Takes larger steps for a step."""

    state_access = {"optimizer": Write}

    @hookimpl(wrapper=True)
    def step(self, learner, phase: AbstractTrainingPhase):
        learner.optimizer.param_groups[0]["lr"] *= 2
        result = yield
        learner.optimizer.param_groups[0]["lr"] /= 2
        return result


class DtypeWithoutFinally(Callback):
    """Sets the default dtype for the forward pass."""

    @hookimpl(wrapper=True)
    def forward(self):
        torch.set_default_dtype(torch.float64)
        result = yield
        torch.set_default_dtype(torch.float32)
        return result


class AttributeWithoutFinally(Callback):
    """Switches dropout off for the forward pass."""

    state_access = {"model": Write}

    @hookimpl(wrapper=True)
    def forward(self, learner, phase: AbstractTrainingPhase):
        learner.model[2].p = 0.0
        result = yield
        learner.model[2].p = 0.5
        return result


class HookWithoutFinally(Callback):
    """Listens to the model in each step."""

    state_access = {"model": Write}

    @hookimpl(wrapper=True)
    def step(self, learner, phase: AbstractTrainingPhase):
        handle = learner.model.register_forward_hook(lambda *args: None)
        result = yield
        handle.remove()
        return result


class FrozenForAStep(Callback):
    """Freezes a layer from the begin of each step to its end."""

    state_access = {"model": Write}

    def on_step_begin(self, learner, phase: AbstractTrainingPhase):
        learner.model[0].requires_grad_(False)

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        learner.model[0].requires_grad_(True)


class OnlyExceptions(Callback):
    """Puts back after errors, and not after an interrupt."""

    state_access = {"optimizer": Write}

    @hookimpl(wrapper=True)
    def step(self, learner, phase: AbstractTrainingPhase):
        before = learner.optimizer.param_groups[0]["lr"]
        learner.optimizer.param_groups[0]["lr"] = 0.5
        try:
            result = yield
        except Exception:
            learner.optimizer.param_groups[0]["lr"] = before
            raise
        learner.optimizer.param_groups[0]["lr"] = before
        return result


class Swallows(Callback):
    """Goes on after any error."""

    @hookimpl(wrapper=True)
    def step(self):
        try:
            return (yield)
        except Exception:
            return None


class ReturnsInFinally(Callback):
    """Loses the error by a return."""

    @hookimpl(wrapper=True)
    def forward(self, learner):
        result = None
        try:
            result = yield
        except BaseException:
            pass
        return torch.zeros(1, requires_grad=True) if result is None else result


class SwallowsCancels(Callback):
    """Goes on where another callback ended the fit."""

    @hookimpl(wrapper=True)
    def epoch(self):
        try:
            return (yield)
        except FitException:
            return None


class AnotherError(Callback):
    """Fails while it cleans up, so that the user sees that."""

    @hookimpl(wrapper=True)
    def step(self):
        kept = {}
        try:
            kept["result"] = yield
        finally:
            result = kept["result"]
        return result


BUGS = [
    (
        SwapWithoutFinally,
        r"^InjectedError was raised inside of `forward` in a ValidationPhase, and `params\..*` was left",
        LEFT,
    ),
    (
        SwapInEvents,
        r"in a ValidationPhase, and `params\..*` was left changed; without the error it is put back\.",
        LEFT,
    ),
    (RateWithoutFinally, r"inside of `forward` in a TrainingPhase, and `optimizer` was left changed", LEFT),
    (DtypeWithoutFinally, r"and torch's default dtype was left changed", LEFT),
    (AttributeWithoutFinally, r"and the attribute `p` of `model\.2` was left changed", LEFT),
    (HookWithoutFinally, r"and the hooks of modules in `model` was left changed", LEFT),
    (FrozenForAStep, r"and `params\.0\..*` was left changed", LEFT),
    (OnlyExceptions, r"^InjectedInterrupt was raised inside of `forward` .*and `optimizer` was left changed", LEFT),
    (Swallows, r"^InjectedError was raised inside of `forward` in a TrainingPhase, and the fit went on\.", SWALLOWED),
    (ReturnsInFinally, r"and the fit (went on|ended by)", SWALLOWED),
    (SwallowsCancels, r"^CancelFittingException was raised inside of `forward` .* and the fit went on\.", SWALLOWED),
    (AnotherError, r"^InjectedError was raised .* and the fit ended by KeyError\('result'\)\.", SWALLOWED),
]


@pytest.mark.parametrize(("bug", "cause", "fix"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_bug_is_found_with_its_cause_and_its_fix(bug, cause, fix, found):
    before = torch.get_default_dtype()
    try:
        result = found(bug, "errors")
    finally:
        torch.set_default_dtype(before)
    assert result.outcome == "failed"
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(result.detail)
    assert fix in result.detail
