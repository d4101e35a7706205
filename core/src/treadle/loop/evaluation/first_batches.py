"""`FirstBatches`: the beginning of data that may never end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from treadle.loop.data.batches import empty_data, length_of


class FirstBatches:
    """The first batches of some data; no other one is asked for.

    Args:
        data: An iterable of batches.
        steps: The number of batches; data that are shorter have fewer.
        user: Who runs over them, for messages.
    """

    def __init__(self, data: Any, steps: int, user: str) -> None:
        self.data, self.steps, self.user = data, steps, user

    def __len__(self) -> int:
        length = length_of(self.data)
        return self.steps if length is None else min(length, self.steps)

    def __iter__(self) -> Iterator[Any]:
        batch = none = object()
        for batch in islice(self.data, self.steps):
            yield batch
        if batch is none:
            raise empty_data(self.data, self.user)
