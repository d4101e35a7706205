"""`DataLoader`: batches of data in memory, at the cost of one gather for many of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial as bound
from typing import Any

import torch
from loguru import logger
from treadle.authoring import instance_of, whole_number
from treadle.errors import MismatchError

from treadle_flux.observations import as_observations, leaves, length, split

EXAMPLE = "DataLoader((xs, ys), batchsize=32, shuffle=True)"

#: So many bytes of rows are gathered at once, or those of one batch: few enough to stay in a processor's cache.
BLOCK = 2**20

#: What must be equal where a pass goes on.
SETTINGS = ("rows", "batchsize", "partial")


class DataLoader:
    """Batches of data in memory, along the first axis.

    A batch is made as the data are: a tensor, a tuple or a dictionary. It is a view of a copy of up to 1 MiB of
    rows (or of one batch, if that is larger), so it may be changed in place, which leaves the data and other batches as
    they are; who keeps a batch keeps that copy. Arrays become tensors.

    It goes on where its `state_dict` says: in the order of that pass, without touching the rows that were given.
    A pass that is left before its end is over; the next one begins anew.

    Args:
        data: A tensor, a NumPy array, or a tuple or a mapping of these, equally long along the first axis.
        batchsize: Observations of a batch. Default: 1. If there are fewer, they are one batch, with a warning.
        shuffle: Whether each pass has a new order. Default: no.
        partial: Whether the observations that are left at the end are a smaller batch, or are dropped. Default: the
            former.
        generator: Where orders are drawn from. Default: one of its own, seeded by torch's global one.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used.
        DataError: if there are no observations, or the parts of the data disagree about how many.

    Example:
        >>> loader = DataLoader({"x": torch.arange(10.0), "y": torch.arange(10)}, batchsize=4)
        >>> len(loader)
        3
        >>> for batch in loader:
        ...     print(batch["y"].tolist())
        [0, 1, 2, 3]
        [4, 5, 6, 7]
        [8, 9]
    """

    def __init__(
        self,
        data: Any,
        batchsize: int = 1,
        shuffle: bool = False,
        partial: bool = True,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        self.data = as_observations(data)
        self.rows = length(self.data)
        self.batchsize = whole_number(batchsize, "batchsize", EXAMPLE, least=1)
        self.shuffle = instance_of(shuffle, "shuffle", bool, EXAMPLE)
        self.partial = instance_of(partial, "partial", bool, EXAMPLE)
        if self.batchsize > self.rows:
            logger.warning(
                f"There are {self.rows} observations, fewer than batchsize={self.batchsize}: they are one batch.\n"
                f"Fix: pass a smaller batchsize:\n    DataLoader(data, batchsize={self.rows})"
            )
            self.batchsize = self.rows
        if generator is not None:
            instance_of(generator, "generator", torch.Generator, "generator=torch.Generator().manual_seed(0)")
        elif shuffle:
            seed = int(torch.empty((), dtype=torch.int64).random_())
            generator = torch.Generator().manual_seed(seed)
        self.generator = generator
        self._used = self.rows if partial else self.rows // self.batchsize * self.batchsize
        size = sum(tensor[:1].nbytes for _, tensor in leaves(self.data)) * self.batchsize
        self._block = max(BLOCK // max(size, 1), 1) * self.batchsize
        self._passes: list[weakref.ref[Pass]] = []  # those that began and may be under way, in that order
        self._begun = 0
        self._resumed: Place | None = None  # where the next pass goes on

    def __len__(self) -> int:
        return -(-self._used // self.batchsize)

    def __iter__(self) -> Iterator[Any]:
        start, self._resumed = self._resumed, None
        return Pass(self, start)

    def __repr__(self) -> str:
        settings = f"batchsize={self.batchsize}, shuffle={self.shuffle}, partial={self.partial}"
        return f"DataLoader({self.rows} observations, {settings})"

    def state_dict(self) -> dict[str, Any]:
        """Where the pass under way is, and how its order was drawn.

        Example:
            >>> loader = DataLoader(torch.arange(6), batchsize=2, shuffle=True)
            >>> passing = iter(loader)
            >>> first, state = next(passing), loader.state_dict()
            >>> again = DataLoader(torch.arange(6), batchsize=2, shuffle=True)
            >>> again.load_state_dict(state)
            >>> all(a.equal(b) for a, b in zip(passing, again, strict=True))
            True
        """
        place = self._under_way()
        return {
            "generator": self._random_state() if place is None else place.drawn_from,
            "batches": 0 if place is None else place.batches,
            **{name: getattr(self, name) for name in SETTINGS},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on where this state was taken.

        Raises:
            MismatchError: if it is not that of a loader with the same settings.
        """
        if not isinstance(state, Mapping) or not {"generator", "batches", *SETTINGS} <= state.keys():
            raise MismatchError(
                "The state is not one of a DataLoader.\nFix: pass what its method returned:\n    loader.state_dict()"
            )
        drawn_from, batches = state["generator"], state["batches"]
        others = [f"{name}={state[name]}" for name in SETTINGS if batches and state[name] != getattr(self, name)]
        if (drawn_from is not None) != self.shuffle:
            others.append(f"shuffle={not self.shuffle}")
        if others or not 0 <= batches <= len(self):
            raise MismatchError(
                f"The state, after {batches} batches, is of a loader with {', '.join(others) or 'more batches'}, and "
                f"this is {self!r}.\nFix: build the loader as it was when the state was taken"
            )
        if self.generator is not None and self.shuffle:
            try:
                self.generator.set_state(drawn_from)
            except (RuntimeError, TypeError) as error:
                raise MismatchError(
                    f"The state of the generator does not fit a {type(self.generator).__name__} on "
                    f"{self.generator.device}: {error}\nFix: build the loader as it was when the state was taken"
                ) from error
        self._passes.clear()
        self._resumed = self._place(batches) if batches else None

    def _place(self, batches: int = 0) -> Place:
        """The beginning of a pass, or a place in it; its order is drawn now."""
        before, order = self._random_state(), None
        if self.generator is not None and self.shuffle:
            order = torch.randperm(self.rows, generator=self.generator, device=self.generator.device)
        return Place(before, order, self._random_state(), batches)

    def _random_state(self) -> torch.Tensor | None:
        return self.generator.get_state() if self.generator is not None and self.shuffle else None

    def _under_way(self) -> Place | None:
        """Where the pass under way is: of those that somebody holds, the last that began."""
        if self._resumed is not None:
            return self._resumed
        held = [passing for ref in self._passes if (passing := ref()) is not None and not passing.over]
        if not held:
            return None
        last, now = held[-1], self._random_state()
        drawn_to = None if last.place is None else last.place.drawn_to
        if last.number < self._begun and now is not None and drawn_to is not None and not now.equal(drawn_to):
            return None  # others began since and went on from its order, so it was left behind
        return last.place

    def _register(self, passing: Pass) -> None:
        """A pass begins."""
        self._begun += 1
        passing.number = self._begun
        self._passes = [ref for ref in self._passes if (other := ref()) is not None and not other.over]
        self._passes.append(weakref.ref(passing))

    def _batches(self, place: Place) -> Iterator[Any]:
        """The batches from a place on."""
        for start in range(place.batches * self.batchsize, self._used, self._block):
            rows = slice(start, min(start + self._block, self._used))
            yield from split(self.data, bound(taken, rows=rows, order=place.order), self.batchsize)

    def __getstate__(self) -> dict[str, Any]:
        """In a copy no pass is under way."""
        return {**vars(self), "_passes": []}


@dataclass
class Place:
    """Where a pass is.

    Args:
        drawn_from: The generator's state before its order was drawn, or None without one.
        order: The rows in their order, or None for the order that they have.
        drawn_to: The generator's state after that.
        batches: How many were given.
    """

    drawn_from: torch.Tensor | None
    order: torch.Tensor | None
    drawn_to: torch.Tensor | None
    batches: int


class Pass(Iterator[Any]):
    """One pass over a loader, which begins with its first batch.

    Attributes:
        number: Which pass of the loader it is, from 1; 0 before it begins.
        over: Whether all its batches were given.
    """

    def __init__(self, loader: DataLoader, place: Place | None) -> None:
        self.loader, self.place = loader, place
        self.number, self.over = 0, False
        self._rest: Iterator[Any] | None = None
        if place is not None:
            self._begin(place)

    def _begin(self, place: Place) -> Place:
        self.place, self._rest = place, self.loader._batches(place)
        self.loader._register(self)
        return place

    def __next__(self) -> Any:
        place = self.place or self._begin(self.loader._place())
        for batch in self._rest or ():
            place.batches += 1
            return batch
        self.over = True
        raise StopIteration


def taken(tensor: torch.Tensor, rows: slice, order: torch.Tensor | None) -> torch.Tensor:
    """A copy of some rows of a tensor."""
    if order is None:
        return tensor[rows].clone()
    return tensor.index_select(0, order[rows].to(tensor.device))
