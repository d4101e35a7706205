"""The forward pass and the loss are under autocast, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    ConflictResolution,
    Learner,
    Read,
    RunFirst,
    Unresolvable,
    Write,
    hookimpl,
    run_step,
    run_update,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, CallbackError
from treadle.operations import Forward
from treadle_amp import MixedPrecision
from treadle_amp.precision import DTYPES, check_autocast


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(6, 4, generator=generator) for _ in range(7)]
    return [(xs, xs.sum(dim=1, keepdim=True)) for xs in inputs]


def learner_of(*callbacks: Callback, model: Any = None, data: Any = None) -> Learner:
    return Learner(
        network() if model is None else model,
        mse_loss,
        data=(batches(),) if data is None else data,
        callbacks=callbacks,
        use_default_callbacks=False,
    )


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_it_is_the_loop_by_hand(name: str, dtype: torch.dtype) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cpu", enabled=name == "fp16")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for _ in range(3):
            model.train()
            for xs, ys in batches():
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=dtype):
                    loss: Any = mse_loss(model(xs), ys)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
        torch.manual_seed(2)
        learner = learner_of(MixedPrecision(name))
        learner.fit(3)
    for trained, expected in zip(learner.model.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(trained, expected)


def test_only_the_forward_pass_and_the_loss_are_in_autocast_in_every_phase() -> None:
    seen: dict[str, set[bool]] = {}

    def note(where: str) -> None:
        seen.setdefault(where, set()).add(torch.is_autocast_enabled("cpu"))

    class Watch(Callback):
        def on_step_begin(self) -> None:
            note("step_begin")

        def forward(self) -> None:
            note("forward")

        def on_loss_begin(self) -> None:
            note("loss_begin")

        def loss(self) -> None:
            note("loss")

        def on_backward_begin(self) -> None:
            note("backward_begin")

        def backward(self) -> None:
            note("backward")

        def on_update_begin(self) -> None:
            note("update_begin")

        def on_step_end(self) -> None:
            note("step_end")

    learner_of(MixedPrecision(), Watch(), data=(batches(), batches())).fit(1)
    assert seen.pop("forward") == seen.pop("loss") == {True}
    outside = {"step_begin", "loss_begin", "backward_begin", "backward", "update_begin", "step_end"}
    assert seen == {where: {False} for where in outside}


def test_an_error_inside_leaves_autocast() -> None:
    class Fails(Callback):
        def forward(self) -> None:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        learner_of(MixedPrecision(), Fails()).fit(1)
    assert not torch.is_autocast_enabled("cpu")


def test_a_forward_pass_inside_of_another_leaves_the_outer_one_in_autocast() -> None:
    dtypes = []

    class Inner(Callback):
        state_access = {"loop": Write, "step": Write, "model": Read}
        inside = False

        def resolve_conflict(self, other: Callback) -> ConflictResolution:
            return RunFirst(other)

        @hookimpl(wrapper=True)
        def forward(self, learner: Any) -> Any:
            if not self.inside:
                self.inside = True
                learner.loop.perform(Forward)
                self.inside = False
                dtypes.append(learner.model[0](learner.step.xs).dtype)
            return (yield)

    learner_of(MixedPrecision(), Inner()).fit(1)
    assert dtypes == [torch.bfloat16] * 7


def test_the_device_is_that_of_the_model_when_it_is_used() -> None:
    assert MixedPrecision().state_access == {"model": Read}
    with pytest.raises(
        ArgumentValueError,
        match=r'^MixedPrecision\("bf16"\) cannot be used on meta: torch has no autocast there\.\n'
        r"Fix: leave MixedPrecision out, or move the model to a device that has it, such as cuda or cpu\.\n"
        r'Or try the other type:\n    MixedPrecision\("fp16"\)$',
    ):
        check_autocast(torch.device("meta"), "bf16")
    learner = learner_of(MixedPrecision(), model=network().to("meta"))
    with pytest.raises(ArgumentValueError, match="cannot be used on meta"):
        learner.fit(1)


def test_where_torch_would_compute_in_float32_with_a_warning_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DTYPES, "fp16", torch.float64)
    with pytest.raises(ArgumentValueError, match=r'^MixedPrecision\("fp16"\) cannot be used on cpu: In CPU autocast'):
        learner_of(MixedPrecision("fp16")).fit(1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_on_cuda_it_is_the_loop_by_hand(name: str) -> None:
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    data = [(xs.cuda(), ys.cuda()) for xs, ys in batches()]
    model = network().cuda()
    optimizer = torch.optim.Adam(model.parameters())
    scaler = torch.amp.GradScaler("cuda", enabled=name == "fp16")
    torch.manual_seed(2)
    for _ in range(3):
        model.train()
        for xs, ys in data:
            optimizer.zero_grad()
            with torch.autocast("cuda", dtype=dtype):
                loss: Any = mse_loss(model(xs), ys)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    torch.manual_seed(2)
    learner = learner_of(MixedPrecision(name), model=network().cuda(), data=(data,))
    learner.fit(3)
    for trained, expected in zip(learner.model.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(trained, expected)


# A guard.


def test_a_training_phase_that_applies_the_model_by_itself_is_refused() -> None:
    class Mine(AbstractTrainingPhase):
        data_name = "training"

        def step(self, learner: Any, batch: Any) -> None:
            with run_step(learner, self) as (_, state):
                state.loss = mse_loss(learner.model(batch[0]), batch[1])
                run_update(learner, self)

    with pytest.raises(CallbackError, match=r"^MixedPrecision is a guard and handles `forward`, `loss`, and a step"):
        learner_of(MixedPrecision()).fit(1, phases=[Mine()])


# Who can be beside it.


class ReadsGradients(Callback):
    state_access = {"step.grads": Read}


class AtBackwardEnd(ReadsGradients):
    def on_backward_end(self, learner: Any) -> None: ...


class AtStepEnd(ReadsGradients):
    def on_step_end(self, learner: Any, phase: AbstractTrainingPhase) -> None: ...


class PartOfThem(AtStepEnd):
    state_access = {"step.grads.weight": Write}


class AtUpdateBegin(ReadsGradients):
    def on_update_begin(self, learner: Any) -> None: ...


@pytest.mark.parametrize(
    ("cls", "event"), [(AtBackwardEnd, "BackwardEnd"), (AtStepEnd, "StepEnd"), (PartOfThem, "StepEnd")]
)
def test_who_uses_scaled_gradients_is_refused_beside_a_scaler_only(cls: type[Callback], event: str) -> None:
    with pytest.raises(
        CallbackConflictError,
        match=rf"{cls.__name__} uses `step\.grads` at {event}, where they are multiplied by the scale\. "
        r"Let it handle UpdateBegin, where they are whole: on_update_begin\(self, learner\)\.",
    ):
        toy_learner(MixedPrecision("fp16"), cls())
    toy_learner(MixedPrecision("bf16"), cls()).fit(1)


def test_who_uses_whole_gradients_is_right_beside_a_scaler() -> None:
    toy_learner(MixedPrecision("fp16"), AtUpdateBegin()).fit(1)


def test_who_overrides_update_is_refused_beside_a_scaler_only() -> None:
    class Closure(Callback):
        state_access = {"optimizer": Write}

        def update(self, learner: Any) -> bool:
            learner.optimizer.step()
            return True

    with pytest.raises(
        CallbackConflictError,
        match=r"Closure overrides `update`, and the scaler has to let the optimizers step, or not\. "
        r'Compute in bfloat16, which needs no scaler: MixedPrecision\("bf16"\)\.',
    ):
        toy_learner(MixedPrecision("fp16"), Closure())
    assert toy_learner(MixedPrecision("bf16"), Closure()).fit(1).steps == 16


def test_who_wraps_update_is_around_the_scalers_steps() -> None:
    results = []

    class Around(Callback):
        @hookimpl(wrapper=True)
        def update(self, learner: Any) -> Any:
            result = yield
            results.append(result)
            return result

    learner = toy_learner(MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", init_scale=2.0**12)), Around())
    learner.fit(1)
    assert results.count(True) == learner.progress.updates
    assert {True, False} == set(results)


def test_who_writes_the_model_elsewhere_needs_no_order() -> None:
    class Writes(Callback):
        state_access = {"model": Write, "step.loss": Write}

        def on_fit_end(self, learner: Any) -> None: ...

        def on_backward_begin(self, learner: Any) -> None: ...

    toy_learner(MixedPrecision("fp16"), Writes()).fit(1)


def test_there_is_one_of_it() -> None:
    with pytest.raises(CallbackConflictError, match=r"The forward pass has one type of numbers\. Keep one of them\."):
        toy_learner(MixedPrecision("bf16"), MixedPrecision("fp16"))
    assert MixedPrecision().resolve_conflict(MixedPrecision()) == Unresolvable(
        "The forward pass has one type of numbers. Keep one of them."
    )


def test_it_says_whether_it_skips_updates() -> None:
    assert not MixedPrecision("bf16").skips_updates
    assert MixedPrecision("fp16").skips_updates


# Bad input.


@pytest.mark.parametrize(
    ("dtype", "meant"),
    [
        ("float16", "fp16"),
        ("half", "fp16"),
        ("16-mixed", "fp16"),
        ("BF16", "bf16"),
        ("bfloat16", "bf16"),
        (torch.bfloat16, "bf16"),
        (torch.float16, "fp16"),
        (16, "fp16"),
        ("fp8", None),
        (None, None),
    ],
)
def test_a_type_that_there_is_not_is_refused_and_guessed(dtype: Any, meant: str | None) -> None:
    guess = rf" Did you mean `{meant}`\?" if meant else ""
    error = ArgumentValueError if isinstance(dtype, str) else ArgumentTypeError
    with pytest.raises(
        error,
        match=rf"^MixedPrecision\(dtype\) has an invalid value: .*\.{guess}\nFix: pass \"bf16\" or \"fp16\":\n"
        rf"    MixedPrecision\(\"{meant or 'bf16'}\"\)$",
    ):
        MixedPrecision(dtype)


def test_a_scaler_that_is_none_or_would_not_be_used_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"^MixedPrecision\(scaler\) must be torch's gradient scaler, got 3\."):
        MixedPrecision("fp16", scaler=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="must be torch's gradient scaler"):
        MixedPrecision("fp16", scaler=torch.amp.GradScaler)  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match=r"^MixedPrecision\(scaler\) got a scaler that is disabled"):
        MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", enabled=False))
    with pytest.raises(ArgumentValueError, match=r'^MixedPrecision\("bf16"\) got a scaler, which it would not use'):
        MixedPrecision("bf16", scaler=torch.amp.GradScaler("cpu"))


def test_parameters_in_float16_are_refused_before_the_first_step() -> None:
    with pytest.raises(
        ArgumentValueError,
        match=r'^MixedPrecision\("fp16"\) cannot train the parameter `0\.weight`, which is float16: its gradients '
        r"would be too, and cannot be unscaled\.\nFix: keep the parameters in float32;",
    ):
        learner_of(MixedPrecision("fp16"), model=network().half()).fit(1)


def test_complex_parameters_are_refused_with_a_scaler_before_the_first_step() -> None:
    model = network()
    model.register_parameter("phase", torch.nn.Parameter(torch.ones(1, dtype=torch.complex64)))
    with pytest.raises(
        ArgumentValueError,
        match=r'^MixedPrecision\("fp16"\) cannot train the parameter `phase`, which is complex: .*\nFix:',
    ):
        learner_of(MixedPrecision("fp16"), model=model).fit(1)
    learner_of(MixedPrecision("bf16"), model=model).fit(1)


def test_a_scaler_for_another_kind_of_device_is_refused_before_the_first_step() -> None:
    scaler = torch.amp.GradScaler("cpu")
    scaler._device = "xpu"
    with pytest.raises(
        ArgumentValueError,
        match=r'^MixedPrecision\("fp16"\) cannot scale gradients on cpu: the scaler is for another kind of device\.\n'
        r"Fix: compute in bfloat16, which needs no scaler:\n    MixedPrecision\(\"bf16\"\)\n"
        r'Or, if you passed a scaler, make it for this device:\n    torch\.amp\.GradScaler\("cpu"\)',
    ):
        learner_of(MixedPrecision("fp16", scaler=scaler)).fit(1)
