"""The random generators of Python, NumPy, torch, accelerators and loaders: their states, kept and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from treadle.errors import MismatchError


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

    def as_dict(self) -> dict[str, Any]:
        """The states alone, without the generators."""
        return {
            "python": self.python,
            "numpy": self.numpy,
            "torch": self.torch,
            "devices": self.devices,
            "own": [state for _, state in self.own],
        }

    @classmethod
    def from_dict(cls, states: dict[str, Any], sources: Iterable[Any], *, own: bool = True) -> RandomState:
        """What `as_dict` returned, for the generators that there are now.

        Args:
            sources: The data loaders, whose own generators count as well.
            own: Whether these must be as many as were saved. Default: yes; else they are left as they are, if they
                are more or fewer.

        Raises:
            MismatchError: if the loaders hold more or fewer generators.
        """
        state = cls(sources)
        if len(state.own) == len(states["own"]):
            state.own = [(generator, saved) for (generator, _), saved in zip(state.own, states["own"], strict=True)]
        elif own:
            raise MismatchError(
                f"The checkpoint has the states of {len(states['own'])} random generators that belong to data loaders, "
                f"and the learner's data have {len(state.own)}.\n"
                f"Fix: resume with loaders built as those of the saved run"
            )
        state.python, state.torch = states["python"], states["torch"]
        if state.numpy is not None and states["numpy"] is not None:
            state.numpy = states["numpy"]
        state.devices = {kind: saved for kind, saved in states["devices"].items() if is_present(kind, saved)}
        return state


#: Where data loaders, samplers and data sets keep parts that may hold generators.
PARTS = ("generator", "rng", "sampler", "batch_sampler", "dataset", "transform", "collate_fn")


def own_generators(sources: Iterable[Any]) -> Iterator[Any]:
    """The generators that data loaders, their samplers, data sets and transforms hold, each once.

    They are torch's, NumPy's and Python's, under any name. This is the only search for generators: validation, the
    LR finder, the checkpoints and the contract find the same ones.
    """
    seen: dict[int, Any] = {}  # holds the objects as well, so that no id is used twice
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source is None or id(source) in seen:
            continue
        seen[id(source)] = source
        if is_generator(source):
            yield source
        elif not isinstance(source, (torch.Tensor, str, bytes, int, float, list, tuple, dict)):
            waiting += [part_of(source, name) for name in PARTS]
            waiting += filter(is_generator, getattr(source, "__dict__", {}).values())


def part_of(source: Any, name: str) -> Any:
    """What a source has under a name; None if it has nothing, or a property of it raises."""
    try:
        return getattr(source, name, None)
    except Exception:  # another author's property, which need not work before the loop runs
        return None


def is_generator(value: Any) -> bool:
    """Whether it is a random generator whose state can be read and set."""
    if isinstance(value, torch.Generator):
        return True
    if isinstance(value, random.Random):
        return not isinstance(value, random.SystemRandom)  # which has no state
    numpy = sys.modules.get("numpy")
    kinds = (numpy.random.Generator, numpy.random.BitGenerator, numpy.random.RandomState) if numpy else ()
    return isinstance(value, kinds)


def generator_state(generator: Any) -> Any:
    """The state of a generator; see `own_generators`."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "get_state"):
        return generator.get_state()
    return getattr(generator, "bit_generator", generator).state


def set_generator_state(generator: Any, state: Any) -> None:
    """Set the state of a generator; see `own_generators`."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "set_state"):
        generator.set_state(state)
    else:
        getattr(generator, "bit_generator", generator).state = state


def device_random_states() -> dict[str, Any]:
    """The states of the accelerators' generators, of those that are in use."""
    states: dict[str, Any] = {}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_device_random_states(states: dict[str, Any]) -> None:
    """Put back what `device_random_states` returned."""
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def is_present(kind: str, states: Any) -> bool:
    """Whether the accelerators whose generators were saved are present; if not, a warning says so."""
    present = torch.cuda.device_count() == len(states) if kind == "cuda" else torch.backends.mps.is_available()
    if not present:
        from loguru import logger  # needed rarely, and loaded then

        logger.warning(
            f"The checkpoint has random states of other {kind} devices than there are here; they are left out."
        )
    return present
