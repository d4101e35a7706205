"""`DeviceNumber`: a number on its way from an accelerator to the host, that no step has to wait for."""

from __future__ import annotations

from typing import Any

import torch

from treadle.errors import ArgumentTypeError

#: Devices whose events say when a copy has ended.
WITH_EVENTS = ("cuda", "mps", "xpu")


class DeviceNumber:
    """A number, or a block of numbers, as it is now: its copy to the host is started here and finished when it is read.

    What is queued on the device after the copy goes on running while the number is read. A
    number that is on the host is there at once; on a device without events the copy is made when it is read.

    Args:
        value: A number, or a tensor on any device.

    Raises:
        TypeError, ValueError: if it does not convert to a float.

    Example:
        >>> loss = torch.tensor(0.5)
        >>> number = DeviceNumber(loss)
        >>> loss += 1
        >>> number.arrived, number.value
        (True, 0.5)
    """

    __slots__ = ("_copy", "_event", "_values")

    def __init__(self, value: float | torch.Tensor) -> None:
        self._copy: torch.Tensor | None = None
        self._event: Any = None
        self._values: list[float] = []
        if not isinstance(value, torch.Tensor):
            try:
                self._values = [float(value)]
            except (TypeError, ValueError):
                raise ArgumentTypeError(
                    f"A DeviceNumber is of a number or of a tensor, got {value!r}.\n"
                    f"Fix: pass one of them:\n    DeviceNumber(learner.step.loss)"
                ) from None
        elif value.is_cpu:
            self._values = value.reshape(-1).tolist()
        else:
            self._start_copy(value.detach())

    @property
    def arrived(self) -> bool:
        """Whether it can be read without waiting; of a device without events that is not known."""
        return self._copy is None or (self._event is not None and bool(self._event.query()))

    @property
    def value(self) -> float:
        """The number. Waits for its copy, and for nothing that was queued later.

        Raises:
            ValueError: if there are several.
        """
        (value,) = self.values
        return value

    @property
    def values(self) -> list[float]:
        """The numbers of a block, in order; see `value`."""
        if self._copy is not None:
            if self._event is not None:
                self._event.synchronize()
            self._values = self._copy.to("cpu").reshape(-1).tolist()
            self._copy = self._event = None
        return self._values

    def _start_copy(self, value: torch.Tensor) -> None:
        if value.device.type not in WITH_EVENTS:
            self._copy = value.clone()  # its owner may change it in place
            return
        self._copy = value.to("cpu", non_blocking=True)
        self._event = torch.Event(value.device)
        if value.device.type == "cuda":  # without a stream the event would be of the current device
            self._event.record(torch.cuda.current_stream(value.device))
        else:
            self._event.record()
