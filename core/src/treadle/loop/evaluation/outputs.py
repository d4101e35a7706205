"""`Outputs`: the outputs of all batches, gathered on the CPU and concatenated along the first axis."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from treadle.errors import DataError

#: How many outputs may be on their way from an accelerator: before one more, the first of them is waited for.
ON_THE_WAY = 8


class Outputs:
    """Gathers the outputs of batches: tensors, and tuples, lists and mappings of them.

    A copy from CUDA is started in each step and finished some steps later, so that no step waits for its own output;
    neither the device's memory nor pinned memory holds more than a few of them.
    """

    def __init__(self) -> None:
        self._parts: list[list[torch.Tensor]] = []  # by the place in the output, those of each batch in order
        self._layout: Any = None
        self._waiting: deque[tuple[int, Callable[[], torch.Tensor]]] = deque()
        self._batches = 0

    def step(self, learner: Any) -> None:
        """Take the output of a step that has ended."""
        self.add(learner.step.yhats)

    def add(self, output: Any) -> None:
        """Take the output of a batch.

        Raises:
            DataError: if it holds something else than tensors, or is made up otherwise than those before.
        """
        self._batches += 1
        tensors: list[torch.Tensor] = []
        layout = flattened(output, tensors, "")
        if self._batches == 1:
            self._layout, self._parts = layout, [[] for _ in tensors]
        elif layout != self._layout:
            raise DataError(
                f"The output of batch {self._batches} is {shown(layout)}, and those before were {shown(self._layout)}, "
                f"so they cannot be concatenated.\n"
                f"Fix: let the model return the same in every batch, or predict them one by one:\n"
                f"    [learner.predict([batch]) for batch in data]"
            )
        for place, tensor in enumerate(tensors):
            if len(self._waiting) == ON_THE_WAY * len(tensors):
                self._finish_one()
            self._waiting.append((place, started_copy(tensor.detach())))

    def part(self) -> tuple[Any, list[list[torch.Tensor]], int]:
        """What this process has, of every so many batches one."""
        while self._waiting:
            self._finish_one()
        return self._layout, self._parts, self._batches

    def merge(self, parts: Sequence[tuple[Any, list[list[torch.Tensor]], int]]) -> None:
        """Take the outputs of all processes, which have taken turns with the batches."""
        self._layout, self._parts, self._batches = None, [], 0
        for i in range(max(batches for _, _, batches in parts)):
            for layout, outputs, batches in parts:
                if i < batches:
                    self.add(unflattened(layout, iter([output[i] for output in outputs])))

    def concatenated(self) -> Any:
        """All outputs; a tensor without axes, such as a loss, gives one value for each batch.

        Raises:
            DataError: if the outputs of two batches differ in more than the length of their first axis.
        """
        while self._waiting:
            self._finish_one()
        tensors = []
        while self._parts:
            parts = self._parts.pop(0)  # so that what is concatenated need not be held twice
            shape = parts[0].shape[1:]
            for batch, part in enumerate(parts, 1):
                if part.ndim != parts[0].ndim or part.shape[1:] != shape:
                    raise DataError(
                        f"The output of batch {batch} has the shape {tuple(part.shape)}, and that of the first has "
                        f"{tuple(parts[0].shape)}, so they cannot be concatenated along the first axis.\n"
                        f"Fix: pad the inputs to one length, or predict the batches one by one:\n"
                        f"    [learner.predict([batch]) for batch in data]"
                    )
            tensors.append(torch.cat(parts) if parts[0].ndim else torch.stack(parts))
        return unflattened(self._layout, iter(tensors))

    def _finish_one(self) -> None:
        place, finish = self._waiting.popleft()
        self._parts[place].append(finish())


def started_copy(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start the copy of a tensor to memory of the CPU; the function that is returned finishes it."""
    if tensor.device.type != "cuda":
        held = tensor.clone() if tensor.is_cpu else tensor
        return lambda: held.cpu()
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.copy_(tensor, non_blocking=True)
    event = torch.Event(tensor.device)
    event.record(torch.cuda.current_stream(tensor.device))

    def finish() -> torch.Tensor:
        event.synchronize()
        return pinned.clone()  # and the pinned memory is used again

    return finish


# The layout of an output: "tensor", None, or a type with the layouts of what is in it.


def flattened(output: Any, tensors: list[torch.Tensor], path: str) -> Any:
    """The layout of an output, whose tensors are appended to the list."""
    if isinstance(output, torch.Tensor):
        tensors.append(output)
        return "tensor"
    if output is None:
        return None
    if isinstance(output, Mapping):
        return dict, tuple((name, flattened(part, tensors, f"{path}[{name!r}]")) for name, part in output.items())
    if isinstance(output, (tuple, list)):
        kind = type(output) if hasattr(output, "_make") else tuple if isinstance(output, tuple) else list
        return kind, tuple(flattened(part, tensors, f"{path}[{i}]") for i, part in enumerate(output))
    where = f"The output of the model has {path}, which is" if path else "The output of the model is"
    raise DataError(
        f"{where} a {type(output).__name__}, and `predict` gathers tensors, and tuples, lists and mappings of them.\n"
        f"Fix: let the model return these, in a callback or in a model around it:\n"
        f"    def forward(self, xs): return self.model(xs).logits"
    )


def unflattened(layout: Any, tensors: Any) -> Any:
    """What an output of this layout is with these tensors in it."""
    if layout is None:
        return None
    if layout == "tensor":
        return next(tensors)
    kind, parts = layout
    if kind is dict:
        return {name: unflattened(part, tensors) for name, part in parts}
    values = [unflattened(part, tensors) for part in parts]
    return kind._make(values) if hasattr(kind, "_make") else kind(values)


def shown(layout: Any) -> str:
    """A layout, in a message."""
    if layout is None or layout == "tensor":
        return "None" if layout is None else "a tensor"
    kind, parts = layout
    return (
        f"a mapping of {', '.join(repr(name) for name, _ in parts)}"
        if kind is dict
        else f"a {kind.__name__} of {len(parts)}"
    )
