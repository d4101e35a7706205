"""`Column`: an array of numbers as somebody reads it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

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
