"""Random numbers that are drawn alike in every process, whatever each of them draws for itself."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

NONE: Any = object()

#: How many items of an order without an end are drawn at once.
CHUNK = 1024


class Stream:
    """The global random generators as all processes have them in common, for some epoch.

    Args:
        seed: What is equal in all processes.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed % 2**63
        self._state: Any = None

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw from this stream; the generators of Python, NumPy and torch are afterwards as they were.

        Example:
            >>> before, stream = torch.get_rng_state(), Stream(3)
            >>> with stream.drawn():
            ...     first = torch.rand(2)
            >>> torch.equal(torch.get_rng_state(), before)
            True
            >>> with Stream(3).drawn():
            ...     torch.equal(torch.rand(2), first)
            True
        """
        own = states()
        if self._state is None:
            torch.default_generator.manual_seed(self.seed)
            random.seed(self.seed)
            if (numpy := sys.modules.get("numpy")) is not None:
                numpy.random.seed(self.seed % 2**32)
        else:
            set_states(self._state)
        try:
            yield
        finally:
            self._state = states()
            set_states(own)


def states() -> tuple[Any, Any, Any]:
    """The states of the generators of Python, NumPy and torch, on the CPU."""
    numpy = sys.modules.get("numpy")
    return random.getstate(), None if numpy is None else numpy.random.get_state(), torch.get_rng_state()


def set_states(saved: tuple[Any, Any, Any]) -> None:
    """Put back what `states` returned."""
    random.setstate(saved[0])
    if saved[1] is not None:
        sys.modules["numpy"].random.set_state(saved[1])
    torch.set_rng_state(saved[2])


def drawn_alike(items: Iterable[Any], seed: int) -> Iterator[Any]:
    """The items of an iterable that may draw random numbers for each of them."""
    stream = Stream(seed)
    with stream.drawn():
        iterator = iter(items)
    while True:
        with stream.drawn():
            item = next(iterator, NONE)
        if item is NONE:
            return
        yield item


def order_of(sampler: Any, seed: int) -> Iterator[Any]:
    """The order that a sampler gives, drawn as a whole where it is finite."""
    stream = Stream(seed)
    with stream.drawn():
        iterator = iter(sampler)
        finite = hasattr(sampler, "__len__")
        known = list(iterator) if finite else []
    yield from known
    while not finite:
        with stream.drawn():
            chunk = [item for item, _ in zip(iterator, range(CHUNK), strict=False)]
        if not chunk:
            return
        yield from chunk
