"""`Stream`: data that never end, cut into epochs."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from treadle.arguments import whole_number
from treadle.errors import ArgumentTypeError, MismatchError
from treadle.loop.data.batches import check_data, empty_data
from treadle.state.random_state import RandomState
from treadle.state.run.data.passes import Passes, PassStart
from treadle.state.run.data.refusals import refuse_unresumable
from treadle.state.run.data.states import put_back
from treadle.state.run.values import has_state

NO_BATCH: Any = object()


class Stream:
    """Cuts an iterable of batches that never ends, or that ends anywhere, into epochs of so many steps.

    Each epoch goes on where the one before it ended; where the data end, they begin anew. An epoch that was cancelled
    is not gone on with: the next has all its steps. A run over it is resumed at every step. Data with `state_dict` and
    `load_state_dict` go on by themselves. Others are begun again, with the random generators as they were then, and the
    batches that were done are skipped, which takes as long as to load them. In a copy the stream begins anew.

    Args:
        data: An iterable of batches: a loader, a list, or an object whose `__iter__` is a generator.
        steps: The number of steps of an epoch.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `steps` is not a number of steps.
        DataError: if `data` is not an iterable of batches; and in an epoch, if there is no batch in it.
        NotResumableError: when its state is asked for, as a checkpoint does before training, if the data could not
            begin again as they did, as an iterator cannot.

    Example:
        >>> import itertools
        >>> from treadle import Stream
        >>> class Numbers:
        ...     def __iter__(self):
        ...         return itertools.count(1)
        >>> stream = Stream(Numbers(), 3)
        >>> list(stream), list(stream)
        ([1, 2, 3], [4, 5, 6])
        >>> again = Stream(Numbers(), 3)
        >>> again.load_state_dict(stream.state_dict())
        >>> list(again)
        [7, 8, 9]
    """

    def __init__(self, data: Any, steps: int) -> None:
        check_data(data, "Stream")
        self.data, self.steps = data, whole_number(steps, "steps", "Stream(data, steps=1000)", least=1)
        self._passes = Passes("data.Stream", data)
        self._rest: Iterator[Any] | None = None  # of the pass over the data
        self._start: PassStart | None = None  # how things stood when it began
        self._given = 0  # batches of it
        self._in_epoch = 0  # batches of the epoch under way
        self._epoch: object = None
        self._saved: dict[str, Any] | None = None  # the state to go on from

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        if self._saved is None:
            self._in_epoch = 0
        self._go_on()
        self._epoch = epoch = object()
        try:
            while self._in_epoch < self.steps:
                batch = self._next()
                self._in_epoch += 1
                yield batch
        finally:
            if self._epoch is epoch:  # else it goes on from a state that was loaded, or another one has begun
                self._in_epoch, self._epoch = 0, None

    def _next(self) -> Any:
        """The next batch; where the data end, the first one of the next pass."""
        for _ in range(2):
            if self._rest is None:
                self._begin()
            batch = next(self._rest, NO_BATCH)  # type: ignore[arg-type]
            if batch is not NO_BATCH:
                self._given += 1
                return batch
            self._rest = None
        raise empty_data(self.data, "Stream")

    def _begin(self) -> None:
        """Begin a pass over the data."""
        self._given = 0
        if has_state(self.data):
            self._rest = iter(self.data)
        else:
            self._start, self._rest = self._passes.begin(RandomState([self.data]))

    def _go_on(self) -> None:
        """Go on from a state that was loaded: begin the pass as it began, and skip what was done of it."""
        saved, self._saved = self._saved, None
        if saved is None or not saved["under_way"]:
            return
        if "data" in saved:
            self._rest, self._given = iter(self.data), saved["given"]
            return
        now = RandomState([self.data])
        RandomState.from_dict(saved["random"], [self.data]).put_back()
        put_back({"data": self.data}, {"data": saved["parts"]})
        self._passes.resume(saved["values"])
        self._begin()
        for done in range(saved["given"]):
            self._given += 1
            if next(self._rest, NO_BATCH) is NO_BATCH:  # type: ignore[arg-type]
                raise MismatchError(
                    f"The data of a Stream have {done} batches, and {saved['given']} were done when the run was "
                    f"saved.\nFix: resume with the same data."
                )
        now.put_back()

    def state_dict(self) -> dict[str, Any]:
        """How many batches were given, and how the data began or, where they offer it, their own state."""
        refuse_unresumable({"Stream": self.data}, under_way="Stream")
        if self._saved is not None:
            return deepcopy(self._saved)
        state: dict[str, Any] = {"in_epoch": self._in_epoch, "given": self._given, "under_way": self._rest is not None}
        if has_state(self.data):
            return state | {"data": self.data.state_dict()} if self._rest is not None else state
        self._passes.refuse_unrepeatable({"sources": [self.data]})
        if self._rest is not None and self._start is not None:
            start = self._start
            state |= {"random": start.random.as_dict(), "parts": start.parts, "values": start.values}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or not {"in_epoch", "given", "under_way"} <= state.keys():
            raise ArgumentTypeError("Stream.load_state_dict got no state of a Stream.\nFix: pass that of `state_dict`.")
        self._saved = deepcopy(state)
        self._rest = self._epoch = None
        self._in_epoch = state["in_epoch"]
        if "data" in state:
            self.data.load_state_dict(deepcopy(state["data"]))

    def __reduce__(self) -> tuple[type[Stream], tuple[Any, int]]:
        return type(self), (self.data, self.steps)

    def __repr__(self) -> str:
        return f"Stream({type(self.data).__name__}, steps={self.steps})"
