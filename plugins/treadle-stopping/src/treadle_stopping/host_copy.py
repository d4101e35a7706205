"""`HostCopy`: a number's way from an accelerator to the host, without waiting for what is queued after it."""

from __future__ import annotations

import torch


class HostCopy:
    """Fetches a number from its device in two parts, between which other work can be queued.

    `start` queues a copy to pinned memory and marks its place in the stream; `read` waits for that mark
    alone, so that what was queued in between goes on running. Used for CUDA; on other devices, and for
    a tensor of which no copy was started, `read` gets the number as `.item()` does.

    Example:
        >>> copy, loss = HostCopy(), torch.tensor(0.5)
        >>> copy.start(loss)
        >>> copy.read(loss)
        0.5
    """

    __slots__ = ("_event", "_host", "_source")

    def __init__(self) -> None:
        self._source: torch.Tensor | None = None
        self._host: torch.Tensor | None = None
        self._event: torch.cuda.Event | None = None

    def start(self, value: torch.Tensor) -> None:
        """Queue the copy behind the work that computes the value.

        Args:
            value: A tensor with one element.
        """
        self._source = None
        if not value.is_cuda:
            return
        if self._host is None or self._host.dtype != value.dtype:
            self._host = torch.empty((), dtype=value.dtype, pin_memory=True)
        self._host.copy_(value.detach().reshape(()), non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(value.device))
        self._source = value

    def read(self, value: torch.Tensor) -> float:
        """The value as a number, of the copy if one was started of this tensor.

        Args:
            value: A tensor with one element.
        """
        started, self._source = self._source is value, None
        if not started or self._host is None or self._event is None:
            return float(value.item())
        self._event.synchronize()
        return float(self._host.item())
