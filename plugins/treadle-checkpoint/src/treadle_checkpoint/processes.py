"""`Processes`: those of a run that save and resume it together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from treadle.errors import CheckpointError

T = TypeVar("T")


class Processes:
    """The processes of the group that the script, or a callback, has made; without one, this process alone.

    Whatever they do together, all of them come to in the same order. One process alone does it without asking anybody.

    Attributes:
        rank: The number of this one; 0 is the main one.
        size: How many there are.
    """

    def __init__(self) -> None:
        several = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    @property
    def group(self) -> Any:
        """A group that exchanges what lies in memory: the default one, if it does, or else one made for that."""
        if "cpu:" in dist.get_backend_config():
            return dist.group.WORLD
        if dist.group.WORLD not in GROUPS:
            GROUPS[dist.group.WORLD] = dist.new_group(backend="gloo")
        return GROUPS[dist.group.WORLD]

    def gather(self, value: T) -> list[T]:
        """What each process has, on all of them."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self.group)
        return found

    def largest(self, value: int) -> int:
        """The largest of their numbers."""
        if self.size == 1:
            return value
        number = torch.tensor(int(value))
        dist.all_reduce(number, dist.ReduceOp.MAX, group=self.group)
        return int(number)

    def any(self, value: bool) -> bool:
        """Whether one of them says so."""
        return bool(self.largest(value))

    def together(self, function: Callable[[], T]) -> T:
        """What a function returns, if it raises nothing on any process.

        Raises:
            CheckpointError: where it raised nothing; it names another process, and quotes what was raised there.
        """
        if self.size == 1:
            return function()
        result: Any = None
        error: BaseException | None = None
        try:
            result = function()
        except BaseException as raised:
            error = raised
        problems = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, problem in enumerate(problems):
            if problem is not None:
                what, _, fix = problem.partition("\nFix: ")
                raise CheckpointError(
                    f"The run could not be saved or resumed, because of process {rank}, which raised {what}\n"
                    f"Fix: {fix or 'look at what it printed.'}"
                )
        return result  # type: ignore[no-any-return]

    def of_main(self, function: Callable[[], T]) -> T:
        """What a function returns on the main process, where alone it is called.

        Raises:
            CheckpointError: as `together`.
        """
        result = self.together(lambda: function() if self.main else None)
        return self.gather(result)[0]  # type: ignore[return-value]


#: The groups that were made, by the default group at that time.
GROUPS: dict[Any, Any] = {}
