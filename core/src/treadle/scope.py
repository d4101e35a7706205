"""The scope of a phase: train or eval mode, gradients, random numbers; all put back after it."""

from __future__ import annotations

import random
import sys
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from treadle.lazy import lazily

if TYPE_CHECKING:
    import loguru

    from treadle.learner import Learner
    from treadle.phases import Phase
else:
    loguru = lazily("loguru")


@contextmanager
def phase_scope(learner: Learner, phase: Phase) -> Iterator[None]:
    """Make the learner's models ready for a phase, and leave them as they were.

    A training phase wants models in training mode, a validation phase in eval mode, without
    gradients and without a trace in the random generators; see `Phase.training`.
    """
    progress = learner.progress
    outer = progress.phase, progress.step, progress.skipped, progress.at_entry, progress.at_start
    progress.phase, progress.skipped = phase, 0
    progress.at_entry = progress.at_start = None
    with ExitStack() as stack:
        if phase.training is not None:
            stack.enter_context(modes(learner.models, training=phase.training))
        if phase.training is False:
            stack.enter_context(torch.no_grad())
            progress.at_entry = stack.enter_context(preserved_random_state(vars(learner.data).values()))
        try:
            yield
        finally:
            progress.phase, progress.step, progress.skipped, progress.at_entry, progress.at_start = outer


@contextmanager
def modes(models: Iterable[torch.nn.Module], *, training: bool) -> Iterator[None]:
    """Set models to training or eval mode, and put back the mode of every module after it.

    A module that was frozen by `.eval()` stays frozen while training, as long as any module of its
    model is in training mode. A model that is wholly in eval mode is set to training mode; who may
    not have meant it so is told, once for a model.
    """
    before: list[tuple[torch.nn.Module, bool]] = []
    try:
        for model in models:
            modules = list(model.modules())
            before += [(module, module.training) for module in modules]
            if not training:
                model.eval()
            elif not any(module.training for module in modules):
                model.train()
                if len(modules) > 1:
                    tell(
                        model,
                        "was wholly in eval mode; it trains in training mode. To keep parts of it frozen, call "
                        "model.train() and then .eval() on those parts.",
                    )
            elif not model.training:
                frozen = sum(not module.training for module in modules)
                tell(
                    model,
                    f"is in eval mode but for some of its parts, so {frozen} of its {len(modules)} modules stay "
                    f"frozen while it trains. If that is not meant, call model.train().",
                )
        yield
    finally:
        for module, mode in before:
            module.training = mode


#: Models whose mode was spoken of, which is done once for each.
told: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def tell(model: torch.nn.Module, what: str) -> None:
    """Warn about a model's mode, unless that was done before."""
    if model not in told:
        told.add(model)
        loguru.logger.warning(f"{type(model).__name__} {what}")


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
