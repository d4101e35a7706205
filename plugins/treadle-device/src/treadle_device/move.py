"""`Move`: the function that moves tensors and modules to a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from treadle.errors import ArgumentValueError


@dataclass(frozen=True)
class Move:
    """Moves a tensor or a module to a device.

    Copies to CUDA do not wait: from pinned memory (`DataLoader(pin_memory=True)`) they run beside
    the computation. Elsewhere a copy is finished when it is used only if one waits for it.

    Args:
        device: The device.

    Raises:
        ArgumentValueError: if this machine has no such device.

    Example:
        >>> Move(torch.device("meta"))(torch.ones(2)).device
        device(type='meta')
    """

    device: torch.device

    def __post_init__(self) -> None:
        if missing := not_here(self.device):
            raise ArgumentValueError(
                f"The device {str(self.device)!r} cannot be used here: {missing}. "
                f"ToGPU() takes the best device that there is."
            )

    def __call__(self, thing: Any) -> Any:
        if isinstance(thing, torch.Tensor):
            return thing.to(self.device, non_blocking=self.device.type == "cuda")
        return thing.to(self.device)


def as_device(device: str | torch.device) -> torch.device:
    """A device by its name.

    Raises:
        ArgumentValueError: if torch knows no device of that name.
    """
    try:
        return torch.device(device)
    except RuntimeError:
        raise ArgumentValueError(
            f"torch knows no device called {device!r}. Use 'cuda', 'cuda:1', 'mps' or 'cpu'; "
            f"ToGPU() takes the best device that there is."
        ) from None


def not_here(device: torch.device) -> str | None:
    """Why a device cannot be used on this machine, or None if it can."""
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return "torch finds no CUDA device"
        if (device.index or 0) >= count:
            return f"there are {count} CUDA devices, counted from 0"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "torch finds no MPS device"
    return None
