"""Gradients that are computed anew inside of `update`, by a callback that does not declare it."""

import pytest
import torch
from loguru import logger
from torch import nn
from treadle import Callback, CallbackError, Learner, Read, TrainingPhase, Write, hookimpl, toy_learner
from treadle.operations import Backward, FinalizeGradients, Forward, Loss


class Clip(Callback):
    state_access = {"params": Read, "step.grads": Write}

    def on_update_begin(self, learner, phase: TrainingPhase):
        for gradient in learner.step.grads.values():
            gradient.clamp_(-1, 1)


class Closure(Callback):
    """Lets the optimizer compute the loss, behind the learner's back."""

    state_access = {"model": Write, "optimizer": Write, "step": Read, "lossfn": Read}

    def closure(self, learner):
        learner.optimizer.zero_grad()
        loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
        loss.backward()
        return loss

    def update(self, learner):
        learner.optimizer.step(lambda: self.closure(learner))
        return True


class ByAutograd(Closure):
    def closure(self, learner):
        loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
        (learner.model.weight.grad,) = torch.autograd.grad(loss, [learner.model.weight])
        return loss


class Performs(Closure):
    """Computes the loss by the operations, to which other callbacks belong."""

    state_access = {"loop": Write, "model": Write, "optimizer": Write, "step": Write}

    def closure(self, learner):
        learner.step.yhats = learner.loop.perform(Forward)
        learner.step.loss = learner.loop.perform(Loss)
        learner.loop.perform(Backward)
        learner.loop.perform(FinalizeGradients)
        return learner.step.loss


class Around(Callback):
    """Computes the gradients anew before the optimizer steps, as a hand-written SAM does."""

    state_access = {"model": Write, "step": Write, "lossfn": Read}

    @hookimpl(wrapper=True)
    def update(self, learner):
        learner.model.zero_grad()
        learner.lossfn(learner.model(learner.step.xs), learner.step.ys).backward()
        return (yield)


class ClipAround(Clip):
    run_after = ("Clip",)
    on_update_begin = None

    @hookimpl(wrapper=True)
    def update(self, learner):
        for gradient in learner.step.grads.values():
            gradient.clamp_(-0.5, 0.5)
        return (yield)


def lbfgs(parameters):
    return torch.optim.LBFGS(parameters, lr=1.0)


@pytest.mark.parametrize("kind", [Closure, ByAutograd, Around])
def test_it_is_refused_in_the_first_step_with_the_names_and_the_fix(kind) -> None:
    learner = toy_learner(kind(), Clip())
    with pytest.raises(CallbackError) as refused:
        learner.fit(1)
    assert str(refused.value) == (
        f"{kind.__name__} computed gradients anew in `update`, where they are no longer those that Clip (at "
        f"`on_update_begin`) had a part in.\n"
        f"Fix: leave one of them out, or, if that is right, say so where the learner is made:\n"
        f'    Learner(..., resolve={{("{kind.__name__}", "Clip"): "any"}})\n'
        f"Or, if you wrote {kind.__name__}, declare it and compute them by the operations, to which such callbacks "
        f"belong:\n"
        f'    state_access = {{"loop": Write, ...}}\n'
        f"    learner.loop.perform(Forward), ... (Loss), ... (Backward), ... (FinalizeGradients)"
    )
    assert learner.progress.steps == 0
    if kind is Around:
        assert learner.model.weight.item() == 0.0  # it is refused before the optimizer steps
    assert toy_learner(kind(), Clip(), resolve={(kind.__name__, "Clip"): "any"}).fit(1).steps == 16
    assert toy_learner(kind()).fit(1).steps == 16


def test_of_several_that_handle_update_all_are_named() -> None:
    with pytest.raises(CallbackError, match=r"^Around or ClipAround computed gradients anew"):
        toy_learner(Around(), ClipAround(), Clip(), resolve={("Around", "ClipAround"): "first"}).fit(1)


def test_who_only_uses_the_gradients_is_let_through() -> None:
    learner = toy_learner(Clip(), ClipAround())
    assert learner.fit(1).steps == 16
    assert learner.model.weight.item() == pytest.approx(16 * 0.5 * 0.001)
    assert not learner.model.weight._backward_hooks


@pytest.mark.parametrize("how", ["overrides", "wraps"])
def test_who_measures_something_by_other_gradients_is_let_through(how) -> None:
    class Measure(Callback):
        """Its gradients are not those that the optimizer steps by."""

        state_access = {"model": Read, "step": Read, "lossfn": Read}

        @hookimpl(wrapper=True)
        def update(self, learner):
            loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
            torch.autograd.grad(loss, [learner.model.weight])
            return (yield)

    class MeasureFirst(Measure):
        def update(self, learner):
            loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
            torch.autograd.grad(loss, [learner.model.weight])

    learner = toy_learner(Measure() if how == "wraps" else MeasureFirst(), Clip())
    assert learner.fit(1).steps == 16
    assert learner.model.weight.item() == pytest.approx(16 * 0.001)


def test_an_update_by_gradients_that_the_optimizer_never_sees_is_refused() -> None:
    class ByHand(Callback):
        state_access = {"model": Write, "step": Read, "lossfn": Read}

        def update(self, learner):
            loss = learner.lossfn(learner.model(learner.step.xs), learner.step.ys)
            (gradient,) = torch.autograd.grad(loss, [learner.model.weight])
            learner.model.weight.data -= 0.001 * gradient
            return True

    with pytest.raises(CallbackError, match=r"^ByHand computed gradients anew in `update`, .* Clip \(at"):
        toy_learner(ByHand(), Clip()).fit(1)


def test_training_inside_of_update_is_not_meant() -> None:
    class Inside(Callback):
        state_access = {"loop": Write, "data": Read}

        @hookimpl(wrapper=True)
        def update(self, learner):
            if learner.progress.step == 3:
                self.armed = True
                learner.loop.step(TrainingPhase(), learner.data.training[0])
            return (yield)

    learner = toy_learner(Inside(), Clip(), resolve={("Inside", "Clip"): "second"})
    assert learner.fit(1).steps == 17


def test_a_default_callback_that_nobody_named_warns_once() -> None:
    class LossGuard(Callback):
        guard = every_backward = True
        _is_default = True

        def on_backward_end(self, phase: TrainingPhase): ...

    messages: list[str] = []
    sink = logger.add(messages.append, format="{message}")
    try:
        learner = toy_learner(Closure(), LossGuard())
        assert learner.fit(2).steps == 32
    finally:
        logger.remove(sink)
    (message,) = messages
    assert message.startswith(
        "Closure computed gradients anew in `update`, where they are no longer those that LossGuard (at "
        "`on_backward_end`) had a part in.\nFix: "
    )


def test_by_the_operations_it_is_the_loop_by_hand() -> None:
    def data():
        torch.manual_seed(0)
        return [(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(5)]

    def model():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))

    learner = Learner(
        model(),
        nn.MSELoss(),
        data=(data(),),
        optimizer=lbfgs,
        callbacks=[Performs()],
        use_default_callbacks=False,
    )
    learner.fit(2)

    by_hand = model()
    optimizer = lbfgs(by_hand.parameters())
    for _ in range(2):
        for xs, ys in data():

            def closure(xs=xs, ys=ys):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(by_hand(xs), ys)
                loss.backward()
                return loss

            optimizer.step(closure)
    for ours, theirs in zip(learner.model.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(ours, theirs)
