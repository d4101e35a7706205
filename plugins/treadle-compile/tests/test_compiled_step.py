"""`CompiledStep`: the run is that of the step as it is written, whoever watches, and whoever stands in between."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from treadle import (
    AbstractTrainingPhase,
    BackwardEnd,
    Callback,
    CallbackConflictError,
    CancelFittingException,
    CancelUpdateException,
    CustomCallback,
    Learner,
    Read,
    StepEnd,
    TrainingPhase,
    UpdateEnd,
    ValidationPhase,
    Write,
    hookimpl,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError
from treadle.operations import Forward
from treadle_compile import Compile, CompiledStep

Data = list[tuple[torch.Tensor, torch.Tensor]]


def batches(sizes: tuple[int, ...] = (8, 8, 8, 8, 3)) -> Data:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(n, 4, generator=generator), torch.randn(n, 2, generator=generator)) for n in sizes]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data, epochs: int = 2) -> None:
    for _ in range(epochs):
        for xs, ys in data:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(xs), ys).backward()
            optimizer.step()


def trained(model: nn.Module, optimizer: Any, *callbacks: Callback, data: Data, **options: Any) -> Learner:
    step = CompiledStep(**{"backend": "eager", **options})
    learner = Learner(
        model,
        nn.MSELoss(),
        data=(data,),
        optimizer=optimizer,
        callbacks=[step, *callbacks],
        use_default_callbacks=False,
    )
    learner.fit(2)
    return learner


def difference(first: nn.Module, second: nn.Module) -> float:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1),
    "SGD with momentum": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "Nesterov": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.01, amsgrad=True),
    "AdamW in groups": lambda params: torch.optim.AdamW(
        [{"params": [p for p in params if p.ndim > 1]}, {"params": [], "lr": 0.1, "weight_decay": 0.0}], lr=0.01
    ),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.01, momentum=0.5),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_are_those_of_the_loop_by_hand_up_to_rounding(name: str) -> None:
    data, first = batches(), network()
    second = copy.deepcopy(first)
    learner = trained(first, lambda params: OPTIMIZERS[name](list(params)), data=data)
    by_hand(second, OPTIMIZERS[name](list(second.parameters())), data)
    assert difference(first, second) < 2e-6
    assert learner.progress.updates == 10
    assert learner.step.compiled.committed


@pytest.mark.parametrize("cls", [torch.optim.RAdam, torch.optim.ASGD])
def test_an_optimizer_that_torch_cannot_compile_steps_as_ever_and_a_warning_reports_it(
    cls: Any, warnings: list[str]
) -> None:
    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, cls, data=data)
    by_hand(second, cls(second.parameters()), data)
    assert difference(first, second) < 1e-7
    (warning,) = warnings
    assert warning.startswith(f"torch cannot compile the step of {cls.__name__} (")
    assert "Fix: to have it all compiled, use an optimizer such as torch.optim.AdamW" in warning


@pytest.mark.parametrize("why", ["with_update=False", "a hook", "a step of its own"])
def test_an_optimizer_that_is_not_to_be_compiled_steps_as_ever(why: str, warnings: list[str]) -> None:
    data, first = batches(), network()
    second, calls = copy.deepcopy(first), []
    optimizer = torch.optim.Adam(first.parameters())
    if why == "a hook":
        optimizer.register_step_post_hook(lambda *args: calls.append(1))
    if why == "a step of its own":
        step = optimizer.step
        optimizer.step = lambda: (calls.append(1), step())  # type: ignore[method-assign, assignment]
    trained(first, optimizer, data=data, with_update=False if why == "with_update=False" else None)
    by_hand(second, torch.optim.Adam(second.parameters()), data)
    assert difference(first, second) < 1e-7
    assert len(calls) == (0 if why == "with_update=False" else 10)
    assert warnings == []


def test_buffers_change_as_a_forward_pass_changes_them() -> None:
    data = batches()
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data)
    assert first[1].num_batches_tracked == 10
    assert difference(first, second) < 1e-6


class Partial(nn.Module):
    """A layer that is frozen, one that is used, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen, self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 2), nn.Linear(4, 4)
        self.frozen.requires_grad_(False)

    def forward(self, xs: torch.Tensor) -> Any:
        return self.used(self.frozen(xs))


def test_a_parameter_without_a_gradient_is_left_alone_also_by_weight_decay() -> None:
    data, first = batches(), Partial()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.AdamW(params, weight_decay=0.5), data=data)
    by_hand(second, torch.optim.AdamW(second.parameters(), weight_decay=0.5), data)
    assert difference(first, second) < 1e-6
    assert torch.equal(first.unused.weight, Partial().unused.weight)


def test_parameters_that_are_unfrozen_in_the_middle_of_an_epoch_are_trained_from_there() -> None:
    class Thaw(Callback):
        state_access = {"model": Write}

        def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
            if learner.progress.steps == 4:
                learner.model.frozen.requires_grad_(True)

    data, first = batches(), Partial()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), Thaw(), data=data)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1, momentum=0.9)
    by_hand(second, optimizer, data[:4], 1)
    second.frozen.requires_grad_(True)
    by_hand(second, optimizer, data[4:], 1)
    by_hand(second, optimizer, data, 1)
    assert difference(first, second) < 1e-6


def test_a_learning_rate_that_changes_in_each_step_needs_no_other_code() -> None:
    class Decay(Callback):
        state_access = {"optimizer": Write}

        def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
            learner.optimizer.param_groups[0]["lr"] = 0.1 / learner.progress.step

    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph

    data, first = batches((8,) * 6), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Decay(), data=data, backend=backend)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    for _ in range(2):
        for i, batch in enumerate(data, 1):
            optimizer.param_groups[0]["lr"] = 0.1 / i
            by_hand(second, optimizer, [batch], 1)
    assert difference(first, second) < 1e-6
    assert compiled == [1]


def test_inputs_are_passed_as_the_loop_passes_them_and_the_loss_may_be_the_models() -> None:
    class Carrying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(4, 2)

        def forward(self, xs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": ((self.layer(xs) - labels) ** 2).mean()}

    first, data = Carrying(), batches()
    second = copy.deepcopy(first)
    learner = Learner(
        first,
        None,
        data=([({"xs": xs, "labels": ys}, None) for xs, ys in data],),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        callbacks=[CompiledStep(backend="eager")],
        use_default_callbacks=False,
    )
    learner.fit(1)
    by_hand(second.layer, torch.optim.SGD(second.parameters(), lr=0.1), data, 1)
    assert difference(first, second) < 1e-6


# Events in between.


def test_a_fit_that_is_cancelled_at_the_loss_leaves_the_weights_of_the_step_before() -> None:
    class Stop(Callback):
        state_access = {"step.loss": Read}

        def on_backward_begin(self, learner: Any, phase: TrainingPhase) -> None:
            if learner.progress.step == 3:
                raise CancelFittingException("enough")

    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Stop(), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data[:2], 1)
    assert difference(first, second) < 1e-7


def test_an_update_that_is_cancelled_leaves_the_weights_and_the_state_of_the_optimizer() -> None:
    class Skip(Callback):
        def on_update_begin(self, learner: Any) -> None:
            if learner.progress.step == 3:
                raise CancelUpdateException

    data, first = batches(), network()
    second = copy.deepcopy(first)
    learner = trained(first, torch.optim.Adam, Skip(), data=data)
    by_hand(second, torch.optim.Adam(second.parameters()), data[:2] + data[3:])
    assert difference(first, second) < 1e-6
    assert learner.progress.updates == 8


def test_who_declares_gradients_gets_them_and_without_that_there_are_none() -> None:
    norms: list[float] = []

    def note(learner: Any) -> None:
        norms.append(sum(learner.step.grads[name].norm().item() for name in learner.step.grads))

    data, first = batches((8, 8, 8)), network()
    second = copy.deepcopy(first)
    watcher = CustomCallback(note, BackwardEnd, TrainingPhase, {"step.grads": Read})
    trained(first, lambda params: torch.optim.SGD(params, lr=0.0), watcher, data=data)
    expected = []
    for xs, ys in data * 2:
        grads = torch.autograd.grad(nn.functional.mse_loss(second(xs), ys), list(second.parameters()))
        expected.append(sum(grad.norm().item() for grad in grads))
    assert norms == pytest.approx(expected, rel=1e-6)
    learner = trained(network(), lambda params: torch.optim.SGD(params, lr=0.0), data=data)
    assert dict(learner.step.grads) == {}


def test_who_changes_the_gradients_splits_the_unit_and_the_run_is_that_of_the_loop_by_hand() -> None:
    class Halve(Callback):
        state_access = {"step.grads": Write}

        def on_update_begin(self, learner: Any) -> None:
            for name in learner.step.grads:
                learner.step.grads[name].mul_(0.5)

    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Halve(), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.05), data)
    assert difference(first, second) < 1e-6
    with pytest.raises(ArgumentValueError, match=r"with_update=True\) is to compile the update, and Halve changes"):
        trained(network(), torch.optim.SGD, Halve(), data=data, with_update=True)


def test_who_computes_the_outputs_once_more_gets_them_and_the_update_is_that_of_the_step() -> None:
    seen: list[bool] = []

    class Again(Callback):
        state_access = {"loop": Write, "step.yhats": Read}

        def on_update_begin(self, learner: Any, phase: TrainingPhase) -> None:
            seen.append(torch.allclose(learner.loop.perform(Forward), learner.step.yhats))

    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Again(), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data)
    assert difference(first, second) < 1e-6
    assert seen == [True] * 10


def test_an_evaluation_inside_a_step_changes_nothing() -> None:
    class Evaluate(Callback):
        state_access = {"loop": Write}

        def on_backward_end(self, learner: Any, phase: TrainingPhase) -> None:
            learner.loop.epoch(ValidationPhase(), data[:2])

    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Evaluate(), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data)
    assert difference(first, second) < 1e-6


# What is refused.


def partly(operation: str, access: dict[str, Any]) -> Callback:
    """A callback that takes part in an operation, as many do that change how a step is computed."""

    @hookimpl(wrapper=True)
    def wrap(self: Any, learner: Any, phase: AbstractTrainingPhase) -> Any:
        return (yield)

    def override(self: Any, learner: Any, phase: AbstractTrainingPhase) -> Any:
        return None

    wrapper = operation in ("backward", "finalize_gradients", "update")
    return type("Partly", (Callback,), {"state_access": access, operation: wrap if wrapper else override})()


@pytest.mark.parametrize("operation", ["accumulate", "forward", "loss", "backward", "finalize_gradients", "update"])
def test_who_takes_part_in_what_is_no_operation_any_more_is_refused_before_the_first_step(operation: str) -> None:
    message = rf"Partly (overrides|changes what) `{operation}`[^\n]*Use Compile\(\) in place of CompiledStep\(\)"
    with pytest.raises(CallbackConflictError, match=message):
        toy_learner(CompiledStep(), partly(operation, {"step.loss": Write}))


def test_so_is_who_overrides_an_operation_and_declares_nothing() -> None:
    with pytest.raises(CallbackError, match=r"CompiledStep and Partly cannot be used together: Partly overrides"):
        toy_learner(CompiledStep(), partly("accumulate", {}))


@pytest.mark.parametrize("event", ["on_loss_begin", "on_backward_begin"])
@pytest.mark.parametrize("path", ["step.xs", "step.ys", "step.yhats", "step.loss", "step"])
def test_who_may_change_what_is_used_already_is_refused_before_the_first_step(event: str, path: str) -> None:
    class Smooth(Callback):
        state_access = {path: Write}

    def handler(self: Any, learner: Any, phase: TrainingPhase) -> None: ...

    setattr(Smooth, event, handler)
    with pytest.raises(CallbackConflictError, match=rf"Smooth may change `{path}` at \w+Begin"):
        toy_learner(CompiledStep(), Smooth())


def test_a_step_is_compiled_once() -> None:
    with pytest.raises(CallbackConflictError, match="CompiledStep compiles the model as a part of the step"):
        toy_learner(CompiledStep(), Compile())
    with pytest.raises(CallbackConflictError, match=r"A step is compiled once\. Keep one of them"):
        toy_learner(CompiledStep(), CompiledStep())
    with pytest.raises(CallbackConflictError, match=r"A model is compiled once\. Keep one of them"):
        toy_learner(Compile(), Compile())


def test_several_models_are_refused() -> None:
    models = {"first": nn.Linear(1, 1), "second": nn.Linear(1, 1)}
    with pytest.raises(ArgumentValueError, match="of one model, and the learner has 2: first, second"):
        Learner(models, nn.MSELoss(), callbacks=[CompiledStep()], use_default_callbacks=False)


def test_a_loss_that_is_changed_in_a_way_that_nobody_declares_is_an_error_before_the_weights_change() -> None:
    class Penalty(Callback):
        @hookimpl(wrapper=True)
        def loss(self, learner: Any, phase: TrainingPhase) -> Any:
            return (yield) + 1.0

    data, first = batches(), network()
    second = copy.deepcopy(first)
    with pytest.raises(CallbackError, match="The loss of a compiled step was changed"):
        trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Penalty(), data=data)
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data[:1], 1)  # as it is written
    assert difference(first, second) == 0


def test_a_model_that_torch_cannot_trace_is_an_error_that_names_the_way_out() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, xs: torch.Tensor) -> Any:
            return self.layer(xs) if xs.sum() > 0 else -self.layer(xs)

    with pytest.raises(Exception, match=r"(?i)data-dependent") as caught:
        trained(Branching(), torch.optim.SGD, data=batches())
    assert any(
        "CompiledStep compiles a step as one unit, and torch could not.\nFix:" in n for n in caught.value.__notes__
    )


def test_a_torch_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.compiler, "set_stance")
    with pytest.raises(CallbackError, match=r"CompiledStep needs torch 2\.6 or newer, and this is 2\."):
        CompiledStep()


@pytest.mark.parametrize("callback", [Compile, CompiledStep])
def test_an_option_that_torch_does_not_have_is_refused_with_a_guess(callback: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"torch.compile has no option 'modee'. Did you mean .*mode"):
        callback(modee="default")
    with pytest.raises(ArgumentTypeError, match=f"{callback.__name__} takes no option 'disable'"):
        callback(disable=True)
    with pytest.raises(ArgumentTypeError, match="takes no option 'fullgraph': a unit is one graph"):
        CompiledStep(fullgraph=False)


def test_compile_compiles_each_model_in_place_and_once() -> None:
    learner = toy_learner(compile := Compile(backend="eager"))
    compiled = learner.model._compiled_call_impl
    assert compiled is not None
    learner.add_callback(CustomCallback(lambda learner: None, StepEnd))
    assert learner.model._compiled_call_impl is compiled
    learner.fit(1)
    assert list(learner.model.state_dict()) == ["weight"]
    assert compile.options == {"backend": "eager"}


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own use
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_with_torchs_own_compiler_the_run_is_that_of_the_loop_by_hand_up_to_rounding() -> None:
    data, models = batches((8, 8, 8)), [network() for _ in range(3)]
    trained(models[0], torch.optim.Adam, CustomCallback(lambda learner: None, UpdateEnd), data=data, backend="inductor")
    by_hand(models[1], torch.optim.Adam(models[1].parameters()), data)
    assert difference(models[0], models[1]) < 1e-6
    learner = Learner(models[2], nn.MSELoss(), data=(data,), callbacks=[Compile()], use_default_callbacks=False)
    learner.fit(2)
    assert difference(models[2], models[1]) < 1e-6


# What changes on the way.


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.on = nn.Linear(4, 2), nn.Linear(4, 2), False

    def forward(self, xs: torch.Tensor) -> Any:
        return self.first(xs) + (self.second(xs) if self.on else 0)


@pytest.mark.parametrize("begin", [3, 4, 5, 6])
def test_parameters_that_are_used_from_some_step_on_are_trained_from_there(begin: int) -> None:
    class On(Callback):
        state_access = {"model": Write}

        def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
            learner.model.on = learner.progress.steps >= begin

    data, first = batches(), Conditional()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), On(), data=data)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    for i, batch in enumerate(data * 2):
        second.on = i >= begin
        by_hand(second, optimizer, [batch], 1)
    assert difference(first, second) < 1e-6


@pytest.mark.parametrize("hook", ["forward", "on_loss_begin", "loss", "on_backward_begin", "on_update_begin"])
def test_who_sets_the_learning_rate_or_the_weights_in_between_is_heard(hook: str) -> None:
    def change(learner: Any) -> None:
        learner.optimizer.param_groups[0]["lr"] = 0.1 / learner.progress.step
        learner.model[0].bias.data.clamp_(-0.1, 0.1)

    def handler(self: Any, learner: Any, phase: TrainingPhase) -> None:
        change(learner)

    @hookimpl(wrapper=True)
    def wrapper(self: Any, learner: Any, phase: TrainingPhase) -> Any:
        result = yield
        change(learner)
        return result

    members = {"state_access": {"optimizer": Write, "model": Write}, hook: handler if "on_" in hook else wrapper}
    data, first = batches(), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), type("Change", (Callback,), members)(), data=data)
    written = Learner(
        second,
        nn.MSELoss(),
        data=(data,),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.1),
        callbacks=[type("Change", (Callback,), members)()],
        use_default_callbacks=False,
    )
    written.fit(2)
    assert difference(first, second) < 1e-6


def test_a_number_that_changes_in_each_step_is_warned_about_and_the_steps_run_as_written(warnings: list[str]) -> None:
    class Anneal(Callback):
        state_access = {"optimizer": Write}

        def on_step_begin(self, learner: Any, phase: TrainingPhase) -> None:
            learner.optimizer.param_groups[0]["momentum"] = 0.9 / learner.progress.step

    data, first = batches((8,) * 12), network()
    second = copy.deepcopy(first)
    learner = trained(first, lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9), Anneal(), data=data)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        for i, batch in enumerate(data, 1):
            optimizer.param_groups[0]["momentum"] = 0.9 / i
            by_hand(second, optimizer, [batch], 1)
    assert difference(first, second) < 1e-6
    assert learner.step.compiled is False
    (warning,) = warnings
    assert warning.startswith("Something that torch compiles into the step has changed 5 times")


def test_hooks_of_all_optimizers_that_are_registered_in_the_middle_of_a_fit_are_called() -> None:
    calls: list[int] = []

    class Listen(Callback):
        def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
            if learner.progress.steps == 3:
                handles.append(register_optimizer_step_post_hook(lambda *passed: calls.append(1)))

    handles: list[Any] = []
    data, first = batches((8,) * 4), network()
    second = copy.deepcopy(first)
    try:
        trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Listen(), data=data)
    finally:
        handles[0].remove()
    by_hand(second, torch.optim.SGD(second.parameters(), lr=0.1), data)
    assert difference(first, second) < 1e-6
    assert len(calls) == 5


def test_what_a_step_that_was_cancelled_would_have_shown_is_not_learned_from_another_one() -> None:
    class Skip(Callback):
        def on_update_begin(self, learner: Any) -> None:
            if learner.progress.steps == 2:
                raise CancelUpdateException

    data, first = batches((8, 8, 4, 8, 4, 4)), network()
    second = copy.deepcopy(first)
    trained(first, lambda params: torch.optim.SGD(params, lr=0.1), Skip(), data=data)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.1)
    by_hand(second, optimizer, data[:2] + data[3:], 1)
    by_hand(second, optimizer, data, 1)
    assert difference(first, second) < 1e-6


def test_a_model_that_keeps_a_tensor_of_its_forward_pass_is_refused() -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = nn.Linear(4, 2), None

        def forward(self, xs: torch.Tensor) -> Any:
            self.seen = self.layer(xs)
            return self.seen

    with pytest.raises(CallbackError, match=r"keeps a tensor as `model\.seen`, which a compiled step cannot give out"):
        trained(Keeping(), torch.optim.SGD, data=batches())


def test_a_parameter_that_the_unit_does_not_find_is_refused() -> None:
    apart = nn.Parameter(torch.ones(1))
    with pytest.raises(ArgumentValueError, match="CompiledStep does not find 1 of the optimizer's parameters"):
        trained(network(), lambda params: torch.optim.SGD([*params, apart], lr=0.1), data=batches())


def test_a_hook_of_a_gradient_is_refused() -> None:
    model = network()
    model[0].weight.register_hook(lambda gradient: 0.5 * gradient)
    with pytest.raises(ArgumentValueError, match=r"does not call hooks of gradients, and model.0.weight has some"):
        trained(model, torch.optim.SGD, data=batches())


def test_gradients_of_parameters_that_the_optimizer_does_not_have_are_refused_where_somebody_looks() -> None:
    model = network()
    watcher = CustomCallback(lambda learner: None, BackwardEnd, TrainingPhase, {"step.grads": Read})
    with pytest.raises(ArgumentValueError, match=r"optimizer's parameters alone; model.0.weight, model.0.bias would"):
        trained(model, lambda params: torch.optim.SGD(model[2].parameters(), lr=0.1), watcher, data=batches())


def test_a_copy_of_a_learner_trains_its_own_model() -> None:
    data = batches()
    learner = trained(network(), lambda params: torch.optim.SGD(params, lr=0.1), data=data)
    copied = copy.deepcopy(learner)
    learner.fit(1)
    copied.fit(1)
    assert difference(copied.model, learner.model) < 1e-6
