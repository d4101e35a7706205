"""`MixedPrecision`: compute the forward pass and the loss in 16 bits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from treadle import (
    AbstractTrainingPhase,
    BackwardEnd,
    Callback,
    ConflictResolution,
    NoConflict,
    NotDefined,
    PropDict,
    Read,
    StepEnd,
    Unresolvable,
    Write,
    hookimpl,
)
from treadle.authoring import handlers, handles, overlaps, position_of, unwrap, update_under_way
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.operations import Backward, FinalizeGradients, Operation, Update

from treadle_amp.precision import DTYPES, check_autocast, check_parameters, dtype_name, first_parameter
from treadle_amp.scaling import Scaling

#: The entry of `cbstate`.
ENTRY = "cbstate.mixed_precision"


class MixedPrecision(Callback):
    """Compute the forward pass and the loss in 16 bits where that is accurate enough, as `torch.autocast` does.

    The parameters stay as they are. It is autocast around the operations `forward` and `loss`, in training and in
    validation, on the device of the model's parameters.

    With "fp16" small gradients would vanish, so a gradient scaler, torch's, multiplies the loss for its backward pass.
    In `finalize_gradients` the gradients are divided again: those of `BackwardEnd` are scaled, those of `UpdateBegin`
    are not. An update whose gradients are not finite is skipped: an optimizer that has such gradients does not step,
    and where none steps there is no `UpdateEnd`. After each update, also after one that a callback cancelled, the
    scale is adapted.

    It is a guard: a training phase that does not do `forward` and `loss`, and with "fp16" the operations of an update,
    is refused.

    Args:
        dtype: "bf16", which has the range of float32 and needs no scaler, or "fp16". Default: "bf16".
        scaler: With "fp16", the scaler to use. Default: `torch.amp.GradScaler` for the model's device.

    Attributes:
        skipped: With "fp16", how many updates were skipped in all.
        scaler: The scaler in use; None until the first loss is scaled.

    Reads: `model`. Writes, with "fp16": the loss in `step`, for the time of its backward pass; the gradients and what
        an update changes; and `cbstate.mixed_precision`, a `PropDict` with the number `skipped`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for a type that there is not; for a scaler that is none, is disabled, or
            would not be used; in the first forward pass, if torch does not have what it takes on the model's device.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(MixedPrecision("bf16"))
        >>> result = learner.fit(1)
        >>> learner.step.yhats.dtype, learner.model.weight.dtype
        (torch.bfloat16, torch.float32)
        >>> scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        >>> learner = toy_learner(MixedPrecision("fp16", scaler=scaler))
        >>> result = learner.fit(1)
        >>> result.steps, learner.progress.updates, learner.cbstate.mixed_precision.skipped
        (16, 0, 16)
    """

    guard = True
    run_after = ("accumulate",)  # whose gradients are divided when they are unscaled

    def __init__(self, dtype: str = "bf16", *, scaler: GradScaler | None = None) -> None:
        self.dtype = dtype_name(dtype)
        self.skipped = 0
        self._model: Any = None
        self._parameter: Any = None  # the first one of that model
        self._checked: torch.device | None = None
        self._contexts: list[torch.autocast] = []  # those that are not entered: making one costs more than its use
        self._reported = 0  # of those that were skipped
        self._updates: Any = None  # of the learner that it has unscaled gradients of
        self._scaling: Scaling | None = None
        if self.dtype == "fp16":
            self._scaling = Scaling(checked_scaler(scaler))
            self.skips_updates = True
            self.state_access = {"model": Write, "optimizer": Write, "step": Write, ENTRY: Write}
        else:
            if scaler is not None:
                raise ArgumentValueError(
                    'MixedPrecision("bf16") got a scaler, which it would not use: bfloat16 has the range of float32.\n'
                    'Fix: leave it out, or compute in float16:\n    MixedPrecision("fp16", scaler=scaler)'
                )
            for name in ("on_backward_begin", "backward", "finalize_gradients", "update", "on_fit_end"):
                setattr(self, name, None)  # without a scaler it handles none of these
            self.state_access = {"model": Read}

    @property
    def scaler(self) -> GradScaler | None:
        """The scaler in use; None until the first loss is scaled, and with "bf16"."""
        return None if self._scaling is None else self._scaling.scaler

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """With a scaler, all but the gradients of `UpdateBegin` are its own; elsewhere any order is right."""
        inner = unwrap(other)
        if isinstance(inner, MixedPrecision):
            return Unresolvable("The forward pass has one type of numbers. Keep one of them.")
        if self._scaling is None:
            return NotDefined()
        if overrides(inner, Update):
            return Unresolvable(
                f"{other.name} overrides `update`, and the scaler has to let the optimizers step, or not. "
                f'Compute in bfloat16, which needs no scaler: MixedPrecision("bf16").'
            )
        seen = [hook.__name__ for hook in (BackwardEnd, StepEnd) if handles(inner, hook, AbstractTrainingPhase)]
        if seen and any(path == "step.grads" or path.startswith("step.grads.") for path in inner.state_access):
            return Unresolvable(
                f"{other.name} uses `step.grads` at {' and '.join(seen)}, where they are multiplied by the scale. "
                f"Let it handle UpdateBegin, where they are whole: on_update_begin(self, learner)."
            )
        of_update = any(handles(inner, hook) for hook in (Backward, FinalizeGradients, Update))
        if of_update or type(inner).resolve_conflict is not Callback.resolve_conflict:
            return NotDefined()
        return NotDefined() if any(overlaps(path, ENTRY) for path in inner.state_access) else NoConflict()

    # In 16 bits.

    def _device(self, learner: Any) -> torch.device:
        """The device that the model is on, checked where it is a new one."""
        model = learner.model
        if model is not self._model:
            self._model, self._parameter = model, first_parameter(model)
        device: torch.device = self._parameter.device
        if device != self._checked:
            check_autocast(device, self.dtype)
            if self._scaling is not None:
                check_parameters(model)
                self._scaling.on(device)
            self._checked = device
            self._contexts.clear()
        return device

    def _new_context(self, learner: Any) -> torch.autocast:
        return torch.autocast(self._device(learner).type, DTYPES[self.dtype])

    @hookimpl(wrapper=True)
    def forward(self, learner: Any) -> Generator[None, Any, Any]:
        if learner.model is not self._model or self._parameter.device != self._checked:  # else nothing is asked
            self._device(learner)
        context = self._contexts.pop() if self._contexts else self._new_context(learner)
        with context:
            result = yield
        self._contexts.append(context)
        return result

    @hookimpl(wrapper=True)
    def loss(self, learner: Any) -> Generator[None, Any, Any]:
        # The forward pass before has left one, for the device that the model is on.
        context = self._contexts.pop() if self._contexts else self._new_context(learner)
        with context:
            result = yield
        self._contexts.append(context)
        return result

    # The scaler. Without one, these are None.

    def on_backward_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        assert self._scaling is not None
        self._scaling.begin()
        self._adapt(learner)  # to an update that was cancelled

    @hookimpl(wrapper=True)
    def backward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        assert self._scaling is not None
        step, name = learner.step, update_under_way(learner).loss
        loss = step[name]
        try:
            step[name] = self._scaling.scale(loss)
            return (yield)
        finally:
            step[name] = loss

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        assert self._scaling is not None
        target = update_under_way(learner)
        self._scaling.unscale(target.optimizers(learner), self._device(learner), target.parameters(learner))
        self._updates = position_of(learner).updates
        return (yield)

    def update(self, learner: Any, phase: AbstractTrainingPhase) -> bool:
        assert self._scaling is not None
        target = update_under_way(learner)
        stepped = self._scaling.step(target.optimizers(learner), self.name)
        self._adapt(learner, target)
        self.skipped += not stepped
        learner.cbstate.mixed_precision = PropDict(skipped=self.skipped)
        return stepped

    def _adapt(self, learner: Any, done: Any = None) -> None:
        """Adapt the scale to the gradients of an update that has ended; those of unfinished ones follow it.

        Args:
            done: What the update was of, if that is still among the unfinished ones.
        """
        assert self._scaling is not None
        others = [other for other in position_of(learner).updates.unfinished if other != done]
        parameters = [parameter for other in others for parameter in other.parameters(learner)]
        self._scaling.adapt([parameter.grad for parameter in parameters if parameter.grad is not None])

    def on_fit_end(self) -> None:
        """Say how many updates were skipped."""
        if self.skipped > self._reported:
            from loguru import logger  # needed rarely, and loaded then

            assert self.scaler is not None
            count = self.skipped - self._reported
            logger.info(
                f"{self.name} skipped {count} update{'s' if count > 1 else ''}, whose gradients were not finite. "
                f"The scale is {self.scaler.get_scale():g}."
            )
            self._reported = self.skipped

    # In a checkpoint.

    def state_dict(self) -> dict[str, Any]:
        if self._scaling is None:
            return {}
        if self._updates is not None and not (self._updates.open or self._updates.unfinished):
            self._scaling.adapt()  # to an update that was cancelled
        return {"scaler": self._scaling.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scaling is None:
            return super().load_state_dict(state)
        self._scaling.load_state_dict(state["scaler"])
        self.skipped = self._reported = state["skipped"]
        return None


def checked_scaler(scaler: Any) -> GradScaler | None:
    """The user's scaler, if there is one."""
    if scaler is None:
        return None
    if not isinstance(scaler, GradScaler):
        raise ArgumentTypeError(
            f"MixedPrecision(scaler) must be torch's gradient scaler, got {scaler!r}.\n"
            f'Fix: write, for example:\n    MixedPrecision("fp16", scaler=torch.amp.GradScaler("cuda"))'
        )
    if not scaler.is_enabled():
        raise ArgumentValueError(
            "MixedPrecision(scaler) got a scaler that is disabled, so that small gradients would vanish.\n"
            'Fix: leave it out, or make it for the device of the model:\n    torch.amp.GradScaler("cpu")'
        )
    return scaler


def overrides(callback: Callback, operation: type[Operation]) -> bool:
    """Whether a callback does an operation of training in the core's place."""
    handler = handlers(callback).get(operation.hook)
    return handler is not None and not handler.wrapper and handles(callback, operation, AbstractTrainingPhase)
