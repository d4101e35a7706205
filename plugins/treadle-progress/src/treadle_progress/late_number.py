"""`LateNumber`: a number from a device that is not waited for."""

from __future__ import annotations

from typing import Any

import torch

#: Devices that can be asked whether they have come to some point, without waiting for it.
ASKABLE = ("cuda", "mps", "xpu")


class LateNumber:
    """The newest number that has arrived of those offered.

    A number on the CPU is there at once. Of one on an accelerator a copy to the host is started, and it
    is there when it is next asked for after the copy has ended; until then others are passed over.

    Attributes:
        value: The number, or None if none has arrived.

    Example:
        >>> late = LateNumber()
        >>> late.offer(torch.tensor(0.5))
        >>> late.value
        0.5
    """

    __slots__ = ("_copy", "_event", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self._copy: torch.Tensor | None = None
        self._event: torch.Event | None = None

    def offer(self, number: Any) -> None:
        """Take a number, or a tensor with one element."""
        if not isinstance(number, torch.Tensor):
            self.value = float(number)
        elif number.is_cpu:
            self.value = number.item()
        else:
            self._collect()
            if self._copy is None:
                self._send_for(number.detach())

    def _collect(self) -> None:
        """Take over a copy that has ended."""
        if self._copy is not None and self._event is not None and self._event.query():
            self.value = self._copy.item()
            self._copy = None

    def _send_for(self, number: torch.Tensor) -> None:
        """Start a copy to the host, on a device that can tell when it has ended."""
        if number.device.type in ASKABLE:
            self._event = torch.Event(number.device)
            self._copy = number.to("cpu", non_blocking=True)
            self._event.record()
