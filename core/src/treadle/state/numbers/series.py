"""`Series`: numbers by iteration, 16 bytes each, copied from the device late and in blocks."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import torch

from treadle.arguments import html_table
from treadle.state.numbers.device_number import DeviceNumber

Number = TypeVar("Number", int, float)


class Column(Sequence[Number]):
    """Numbers to be read, in the order in which they came; those that come later show.

    Equal to any list, tuple, array or column of the same numbers; a slice is a list.

    Args:
        numbers: The array that is looked at.

    Example:
        >>> values = Column(array("d", [0.5, 0.25]))
        >>> values, values == [0.5, 0.25], values[-1]
        ([0.5, 0.25], True, 0.25)
    """

    __slots__ = ("_numbers",)

    def __init__(self, numbers: array[Number]) -> None:
        self._numbers: array[Any] = numbers

    @overload
    def __getitem__(self, index: int) -> Number: ...

    @overload
    def __getitem__(self, index: slice) -> list[Number]: ...

    def __getitem__(self, index: int | slice) -> Any:
        found: Any = self._numbers[index]
        return found.tolist() if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Number]:
        return iter(self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Column, list, tuple, array)):
            return NotImplemented
        return list(self._numbers) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._numbers.tolist())


#: The number of values that wait on their device to be copied to the host together.
BLOCK = 256


class Series:
    """The values that a quantity took, each with the number of the iteration it belongs to.

    A number costs 16 bytes. A tensor on an accelerator stays there until the series is
    read or a block of them is full, so recording never waits for the device.

    Example:
        >>> losses = Series()
        >>> losses.push(1, 0.5)
        >>> losses.push(2, torch.tensor(0.25))
        >>> losses.last, losses.iterations, losses.values, len(losses)
        ((2, 0.25), [1, 2], [0.5, 0.25], 2)
    """

    __slots__ = ("_copies", "_iterations", "_values", "_waiting")

    def __init__(self) -> None:
        self._iterations = array("q")
        self._values = array("d")
        self._waiting: list[Any] = []
        self._copies: list[DeviceNumber] = []

    def push(self, iteration: int, value: float | torch.Tensor) -> None:
        """Append a value.

        Args:
            iteration: The number that it belongs to, for example of completed steps.
            value: A number, or a tensor with one element.
        """
        if self._waiting or self._copies:
            self._wait_for(torch.as_tensor(value).detach())
        elif type(value) is float or not isinstance(value, torch.Tensor):  # the first is the quicker question
            self._values.append(value)
        elif value.is_cpu:
            self._values.append(value.item())
        else:
            self._wait_for(value.detach())
        self._iterations.append(iteration)

    @property
    def iterations(self) -> Column[int]:
        """The iterations, oldest first."""
        return Column(self._iterations)

    @property
    def values(self) -> Column[float]:
        """The values, oldest first. Waits for those still on a device."""
        return Column(self._on_host())

    @property
    def last(self) -> tuple[int, float]:
        """The last iteration and its value.

        Raises:
            IndexError: if nothing was recorded.
        """
        if not self._iterations:
            raise IndexError("Nothing is recorded in this series yet.")
        return self._iterations[-1], self._on_host()[-1]

    def __len__(self) -> int:
        return len(self._iterations)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return self.iterations == other.iterations and self.values == other.values

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Series({len(self)} values)" if len(self) else "Series(empty)"

    def _repr_html_(self) -> str:
        """As a table, for notebooks."""
        return html_table(["iteration", "value"], [*zip(self.iterations, self.values, strict=True)])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The series as two tensors, of int64 and float64, each of shape (len,)."""
        values = torch.tensor(list(self.values), dtype=torch.float64)
        return {"iterations": torch.tensor(list(self._iterations), dtype=torch.int64), "values": values}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned."""
        self._waiting, self._copies = [], []
        self._iterations = array("q", state["iterations"].tolist())
        self._values = array("d", state["values"].tolist())

    def _on_host(self) -> array[float]:
        """All values, of which none is on a device any more."""
        if self._waiting or self._copies:
            self._start_copy()
            self._finish_copies()
        return self._values

    def _wait_for(self, value: torch.Tensor) -> None:
        if self._waiting and self._waiting[-1].device != value.device:
            self._start_copy()
        dtype = torch.float32 if value.device.type == "mps" else torch.float64
        self._waiting.append(value.reshape(()).to(dtype, copy=True))  # its owner may change it in place
        if len(self._waiting) >= BLOCK:
            self._finish_copies()  # of the block before this one, which arrived long ago
            self._start_copy()

    def _start_copy(self) -> None:
        if self._waiting:
            self._copies.append(DeviceNumber(torch.stack(self._waiting)))
            self._waiting = []

    def _finish_copies(self) -> None:
        for block in self._copies:
            self._values.extend(block.values)
        self._copies = []
