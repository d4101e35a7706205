"""`Scaling`: torch's gradient scaler, asked for what an update needs in the order that it needs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.amp.grad_scaler import GradScaler
from treadle.errors import ArgumentValueError, CallbackError


class Scaling:
    """Scales losses, unscales gradients and leaves out the steps of optimizers whose gradients are not finite.

    Args:
        scaler: The user's own, or None for one that is made when the device is known.

    Attributes:
        scaler: The one in use; None until the first loss is scaled.
    """

    def __init__(self, scaler: GradScaler | None) -> None:
        self.scaler = scaler
        self._is_own = scaler is not None
        self._device: torch.device | None = None  # the one that the scaler was tried on
        self._state: dict[str, Any] = {}  # for a scaler that is not made yet
        self._unscaled: list[torch.optim.Optimizer] = []  # since the scale was last adapted
        self._half_done = False  # whether the scaler may know of others than these

    def on(self, device: torch.device) -> GradScaler:
        """The scaler, ready on a device.

        Raises:
            ArgumentValueError: if torch scales no gradients there, or the user's scaler is for another kind of device.
        """
        if self.scaler is None or self._device != device:
            self._begin(device)
        assert self.scaler is not None
        return self.scaler

    def _begin(self, device: torch.device) -> None:
        if not self._is_own:
            state = self.state_dict()
            self.scaler = GradScaler(device.type)
            if state and self.scaler.is_enabled():
                self.scaler.load_state_dict(state)
        assert self.scaler is not None
        try_out(self.scaler, device)
        self._unscaled.clear()
        self._device, self._state = device, {}

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss, multiplied by the scale."""
        scaled: torch.Tensor = self.on(loss.device).scale(loss)
        return scaled

    def begin(self) -> None:
        """An update begins: forget what an interrupt or an error has left half done."""
        if self._half_done:
            assert self.scaler is not None
            assert self._device is not None
            keep_scale(self.scaler, self._device)
            self._unscaled.clear()
            self._half_done = False

    def unscale(
        self,
        optimizers: Iterable[torch.optim.Optimizer],
        device: torch.device,
        parameters: Iterable[torch.nn.Parameter] = (),
    ) -> None:
        """Divide the gradients by the scale, and note which optimizers have some that are not finite.

        Args:
            parameters: All whose gradients are scaled, those that no optimizer holds included.
        """
        scaler = self.on(device)
        self.begin()
        optimizers = [optimizer for optimizer in optimizers if has_gradients(optimizer)]
        if any(optimizer in self._unscaled for optimizer in optimizers):  # computed anew, by the same scale
            self._half_done = True
            self.begin()
        self._half_done = True
        for optimizer in optimizers:
            scaler.unscale_(optimizer)
        held = {id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
        if others := [p.grad for p in parameters if p.grad is not None and id(p) not in held]:
            scale = scale_of(scaler, device)
            for gradient in others:
                gradient.div_(scale.to(gradient.device))
        self._unscaled += optimizers
        self._half_done = False

    def step(self, optimizers: Iterable[torch.optim.Optimizer], name: str) -> bool:
        """Let each optimizer step whose gradients are finite; returns whether one did.

        Raises:
            CallbackError: for gradients that were not unscaled.
        """
        stepped = [self._step(optimizer, name) for optimizer in optimizers]
        return any(stepped)

    def _step(self, optimizer: torch.optim.Optimizer, name: str) -> bool:
        if optimizer not in self._unscaled:
            if has_gradients(optimizer):
                raise CallbackError(
                    f"{name} cannot update by gradients that it has not unscaled: the update was done without "
                    f"`finalize_gradients`, or another training ran inside of it.\n"
                    f"Fix: in a phase of your own do all of an update with\n    run_update(learner, self)\n"
                    f"and train inside of another training only where a step begins or ends."
                )
            optimizer.step()  # without gradients it has nothing to do, and the scaler nothing to look at
            return False
        assert self.scaler is not None
        found: list[torch.Tensor | None] = []

        def look(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            found.append(getattr(optimizer, "found_inf", None))  # set for those that leave out their step themselves

        handle = optimizer.register_step_pre_hook(look)
        try:
            self.scaler.step(optimizer)
        finally:
            handle.remove()
        return bool(found) and (found[0] is None or not found[0].item())

    def adapt(self, others: Sequence[torch.Tensor] = ()) -> None:
        """Adapt the scale to what was found in the gradients that were unscaled, if any were.

        Args:
            others: Gradients of other updates, to which batches are to come: they are brought to the new scale.
        """
        if not self._unscaled or self._half_done:
            return
        assert self.scaler is not None
        assert self._device is not None
        before = scale_of(self.scaler, self._device) if others else None
        self._half_done = True
        self.scaler.update()
        self._unscaled.clear()
        self._half_done = False
        if before is not None:
            factor = scale_of(self.scaler, self._device) / before
            for gradient in others:
                gradient.mul_(factor.to(gradient.device))

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state; empty if there is none yet."""
        return self._state if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; from an empty one with a new scaler."""
        if self._is_own:
            assert self.scaler is not None
            self.scaler.load_state_dict(state)
            self._half_done = bool(self._unscaled) or self._half_done
        else:
            self.scaler, self._state, self._half_done = None, state, False
            self._unscaled.clear()


def try_out(scaler: GradScaler, device: torch.device) -> None:
    """Let the scaler make its tensors on a device, and try what an update will ask of it.

    So a scaler whose state was restored can complete an update before it has scaled a loss.

    Raises:
        ArgumentValueError: if torch does not scale gradients there.
    """
    probe = torch.nn.Parameter(torch.zeros((), device=device))
    probe.grad = torch.zeros_like(probe)
    try:
        keep_scale(scaler, device)
        scaler.unscale_(torch.optim.SGD([probe], lr=1.0))
        keep_scale(scaler, device)
        enabled, problem = scaler.is_enabled(), "the scaler is disabled"
    except AssertionError:
        enabled, problem = False, "the scaler is for another kind of device"
    except RuntimeError as error:
        enabled, problem = False, str(error).strip().rstrip(".")
    if not enabled:
        raise ArgumentValueError(
            f'MixedPrecision("fp16") cannot scale gradients on {device.type}: {problem}.\n'
            f'Fix: compute in bfloat16, which needs no scaler:\n    MixedPrecision("bf16")\n'
            f'Or, if you passed a scaler, make it for this device:\n    torch.amp.GradScaler("{device.type}")'
        )


def scale_of(scaler: GradScaler, device: torch.device) -> torch.Tensor:
    """The scale as a tensor, which nobody has to wait for."""
    scale: torch.Tensor = scaler.scale(torch.ones((), device=device))
    return scale


def keep_scale(scaler: GradScaler, device: torch.device) -> None:
    """Let the scaler forget which gradients it has unscaled, and keep its scale."""
    scaler.update(scale_of(scaler, device))


def has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer has anything to step by."""
    return any(parameter.grad is not None for group in optimizer.param_groups for parameter in group["params"])
