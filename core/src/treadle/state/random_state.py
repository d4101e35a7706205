"""The random generators of Python, NumPy, torch, accelerators and loaders: their states, kept and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def preserved_random_state(sources: Iterable[Any] = ()) -> Iterator[RandomState]:
    """Leave the random generators of Python, NumPy and torch as they were found.

    Args:
        sources: Data loaders whose own generators are put back as well. Default: none.

    Example:
        >>> before = torch.get_rng_state()
        >>> with preserved_random_state():
        ...     _ = torch.rand(3)
        >>> torch.equal(before, torch.get_rng_state())
        True
    """
    state = RandomState(sources)
    try:
        yield state
    finally:
        state.put_back()


class RandomState:
    """The states of all random generators as they are now.

    Args:
        sources: Data loaders, whose own generators count as well. Default: none.

    Attributes:
        python: The state of Python's generator.
        numpy: The state of NumPy's global one, or None if NumPy is not in use.
        torch: The state of torch's, on the CPU.
        devices: The states of the accelerators' generators, by the type of the device.
        own: The data loaders' own generators, each with its state.

    Example:
        >>> state = RandomState()
        >>> first = torch.rand(1)
        >>> state.put_back()
        >>> torch.equal(first, torch.rand(1))
        True
    """

    __slots__ = ("devices", "numpy", "own", "python", "torch")

    def __init__(self, sources: Iterable[Any] = ()) -> None:
        numpy = sys.modules.get("numpy")
        self.python: Any = random.getstate()
        self.numpy: Any = numpy.random.get_state() if numpy else None
        self.torch = torch.get_rng_state()
        self.devices = device_random_states()
        self.own = [(generator, generator_state(generator)) for generator in own_generators(sources)]

    def put_back(self) -> None:
        """Set all the generators back to these states."""
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        set_device_random_states(self.devices)
        for generator, state in self.own:
            set_generator_state(generator, state)


#: Where data loaders, samplers and data sets keep generators, or parts that do.
PARTS = ("generator", "rng", "sampler", "batch_sampler", "dataset", "transform", "collate_fn")


def own_generators(sources: Iterable[Any]) -> Iterator[Any]:
    """The generators that data loaders, their samplers and data sets hold themselves, each once.

    They are torch's, NumPy's and Python's.
    """
    seen = set()
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source is None or id(source) in seen:
            continue
        seen.add(id(source))
        if is_generator(source):
            yield source
        elif not isinstance(source, (torch.Tensor, str, bytes, int, float, list, tuple, dict)):
            waiting += [part_of(source, name) for name in PARTS]


def part_of(source: Any, name: str) -> Any:
    """What a source has under a name; None if it has nothing, or cannot say now."""
    try:
        return getattr(source, name, None)
    except Exception:  # a property of somebody else's that is no concern of ours
        return None


def is_generator(value: Any) -> bool:
    """Whether it is a random generator whose state can be told and set."""
    if isinstance(value, torch.Generator) or type(value) is random.Random:
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.random.Generator, numpy.random.RandomState))


def generator_state(generator: Any) -> Any:
    """The state of a generator; see `own_generators`."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "bit_generator"):
        return generator.bit_generator.state
    return generator.get_state()


def set_generator_state(generator: Any, state: Any) -> None:
    """Set the state of a generator; see `own_generators`."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        generator.set_state(state)


def device_random_states() -> dict[str, Any]:
    """The states of the accelerators' generators, of those that are in use."""
    states: dict[str, Any] = {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_device_random_states(states: dict[str, Any]) -> None:
    """Put back what `device_random_states` gave."""
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])
