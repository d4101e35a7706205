"""The random generators of Python, NumPy, torch, accelerators and loaders: their states, kept and put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from treadle.errors import MismatchError, NotResumableError
from treadle.state.propdict import by_unique_name
from treadle.state.run.objects.kinds import is_generator
from treadle.state.run.objects.walk import walk
from treadle.state.views import learner_of

#: Objects by name, or a list of objects, that hold random generators.
Sources = Mapping[str, Any] | Iterable[Any]


@contextmanager
def preserved_random_state(sources: Sources = ()) -> Iterator[RandomState]:
    """Leave the random generators of Python, NumPy and torch as they were found.

    Args:
        sources: Objects whose own generators are put back as well, such as data loaders. Default: none.

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
        sources: Objects whose own generators count as well, such as data loaders. Default: none.

    Attributes:
        python: The state of Python's generator.
        numpy: The state of NumPy's global one, or None if NumPy is not in use.
        torch: The state of torch's, on the CPU.
        devices: The states of the accelerators' generators, by the type of the device.
        own: The sources' own generators by their paths, each with its state.

    Example:
        >>> state = RandomState()
        >>> first = torch.rand(1)
        >>> state.put_back()
        >>> torch.equal(first, torch.rand(1))
        True
    """

    __slots__ = ("devices", "numpy", "own", "python", "torch")

    def __init__(self, sources: Sources = ()) -> None:
        numpy = sys.modules.get("numpy")
        self.python: Any = random.getstate()
        self.numpy: Any = numpy.random.get_state() if numpy else None
        self.torch = torch.get_rng_state()
        self.devices = device_random_states()
        self.own = {name: (found, generator_state(found)) for name, found in own_generators(sources).items()}

    @property
    def generators(self) -> dict[str, Any]:
        """The sources' own generators by their paths; sources as well, that need no search."""
        return {name: generator for name, (generator, _) in self.own.items()}

    def put_back(self) -> None:
        """Set all the generators back to these states."""
        random.setstate(self.python)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        set_device_random_states(self.devices)
        for generator, state in self.own.values():
            set_generator_state(generator, state)

    def as_dict(self) -> dict[str, Any]:
        """The states alone, without the generators.

        Raises:
            NotResumableError: if several generators are in a set, which another process iterates over in another order.
        """
        for name in self.own:
            if AMBIGUOUS in name:
                raise NotResumableError(
                    f"{name.partition(AMBIGUOUS)[0]} is one of several random generators that are in a set or the keys "
                    f"of a dictionary, so a resumed run could not tell which is which.\n"
                    f"Fix: keep them in a list."
                )
        return {
            "python": self.python,
            "numpy": self.numpy,
            "torch": self.torch,
            "devices": self.devices,
            "own": {name: state for name, (_, state) in self.own.items()},
        }

    @classmethod
    def from_dict(
        cls, states: dict[str, Any], sources: Sources, *, needed: Callable[[str], bool] = lambda name: True
    ) -> RandomState:
        """What `as_dict` returned, for the generators that there are now.

        Args:
            sources: The objects whose own generators count as well.
            needed: Whether the generator with some path must be there now if it was saved, and have been saved if it
                is there. Default: all must.

        Raises:
            MismatchError: if it is not; it names them.
        """
        state, saved = cls(sources), states["own"]
        if missing := [name for name in saved if name not in state.own and needed(name)]:
            raise MismatchError(
                f"The checkpoint has the state of a random generator at {', '.join(missing)}, and the learner has none "
                f"there.\nFix: build the learner and its data as in the saved run; make a generator where the object "
                f"that holds it is made, and not when it is first used"
            )
        if new := [name for name in state.own if name not in saved and needed(name)]:
            raise MismatchError(
                f"The learner has a random generator at {', '.join(new)}, and the checkpoint has no state of it.\n"
                f"Fix: build the learner and its data as in the saved run"
            )
        state.own = {name: (found, saved[name]) for name, (found, _) in state.own.items() if name in saved}
        state.python, state.torch = states["python"], states["torch"]
        if state.numpy is not None and states["numpy"] is not None:
            state.numpy = states["numpy"]
        state.devices = {kind: saved for kind, saved in states["devices"].items() if is_present(kind, saved)}
        return state


#: In the name of a generator that shares its path with another.
AMBIGUOUS = " (another)"


def own_generators(sources: Sources) -> dict[str, Any]:
    """The random generators of torch, NumPy and Python that are reachable from some objects, each once, by their paths.

    Validation, the LR finder, the checkpoints and the contract find the same ones. See `walk`.
    """
    found: dict[str, Any] = {}
    roots = sources if isinstance(sources, Mapping) else {"sources": list(sources)}
    for node in walk(roots, kinds={"generator"}):
        if is_generator(node.value):
            name = node.path
            while name in found:
                name += AMBIGUOUS
            found[name] = node.value
    return found


def sources_of(learner: Any) -> dict[str, Any]:
    """All parts of a learner that may hold random generators, by name."""
    learner = learner_of(learner)
    parts = ("data", "model", "lossfn", "optimizer", "cbstate")
    return {part: getattr(learner, part) for part in parts} | {"callbacks": by_unique_name(learner.callbacks)}


def generator_state(generator: Any) -> Any:
    """The state of a generator; see `is_generator`."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if hasattr(generator, "get_state"):
        return generator.get_state()
    return getattr(generator, "bit_generator", generator).state


def set_generator_state(generator: Any, state: Any) -> None:
    """Set the state of a generator; see `is_generator`."""
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


def generator_paths(learner: Any) -> frozenset[str]:
    """The paths of all random generators that a learner's data, models, callbacks and other parts hold.

    Example:
        >>> import random
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> learner.model.dice = [random.Random(3)]
        >>> sorted(generator_paths(learner))
        ['model.dice[0]']
    """
    return frozenset(own_generators(sources_of(learner)))
