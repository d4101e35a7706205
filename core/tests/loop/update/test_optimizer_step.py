"""An optimizer's step without torch's wrapper leaves out nothing that anybody would see."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from treadle import toy_learner
from treadle.loop.update.optimizer_step import inside, let_step


@pytest.fixture
def optimizer() -> torch.optim.Optimizer:
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    return torch.optim.SGD([parameter], lr=0.25)


def value(optimizer: torch.optim.Optimizer) -> float:
    return optimizer.param_groups[0]["params"][0].item()


def test_the_step_is_that_of_the_optimizer(optimizer) -> None:
    let_step(optimizer)
    assert value(optimizer) == 0.75
    assert inside(type(optimizer).step) is not None  # so this torch's wrapper is known, and left out


def test_gradients_are_not_recorded(optimizer) -> None:
    let_step(optimizer)
    assert optimizer.param_groups[0]["params"][0].grad_fn is None
    assert torch.is_grad_enabled()


def test_hooks_of_the_optimizer_are_called(optimizer) -> None:
    called = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    let_step(optimizer)
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    let_step(optimizer)
    assert called == ["before", "before", "after"]


@pytest.mark.parametrize("register", [register_optimizer_step_pre_hook, register_optimizer_step_post_hook])
def test_hooks_of_all_optimizers_are_called(optimizer, register) -> None:
    called = []
    handle = register(lambda *_: called.append(1))
    try:
        let_step(optimizer)
    finally:
        handle.remove()
    let_step(optimizer)
    assert called == [1]


def test_a_profiler_sees_the_step_by_its_name() -> None:
    learner = toy_learner(nbatches=1)
    learner.optimizer = torch.optim.SGD(learner.model.parameters(), lr=0.1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        learner.fit(1)
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}


def test_a_step_of_the_object_itself_is_called_as_schedulers_set_it(optimizer) -> None:
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    let_step(optimizer)
    assert optimizer._opt_called
    scheduler.step()  # which would warn


def test_a_wrapper_that_does_something_unknown_is_called(optimizer) -> None:
    class Logged(torch.optim.SGD):
        pass

    def step(self):
        self.log = "something new"
        return step.__wrapped__(self)

    step.__wrapped__, step.hooked = torch.optim.SGD.step, True
    Logged.step = step
    logged = Logged(optimizer.param_groups[0]["params"], lr=0.25)
    let_step(logged)
    assert (logged.log, value(logged)) == ("something new", 0.75)


def test_a_subclass_may_step_otherwise(optimizer) -> None:
    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            super().step()
            return super().step()

    twice = Twice(optimizer.param_groups[0]["params"], lr=0.25)
    let_step(twice)
    assert value(twice) == 0.5
