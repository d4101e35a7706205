"""The scope of a phase: train or eval mode, gradients, random numbers; all put back after it."""

from __future__ import annotations

import random
import sys
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
    outer = progress.phase, progress.step
    progress.phase = phase
    with ExitStack() as stack:
        if phase.training is not None:
            stack.enter_context(modes(learner.models, training=phase.training))
        if phase.training is False:
            stack.enter_context(torch.no_grad())
            stack.enter_context(preserved_random_state(learner.data.values()))
        try:
            yield
        finally:
            progress.phase, progress.step = outer


@contextmanager
def modes(models: Iterable[torch.nn.Module], *, training: bool) -> Iterator[None]:
    """Set models to training or eval mode, and put back the mode of every module after it.

    A module that was frozen by `.eval()` inside of a model in training mode stays frozen while
    training. A model that is wholly in eval mode is set to training mode, with a warning.
    """
    before: list[tuple[torch.nn.Module, bool]] = []
    try:
        for model in models:
            modules = list(model.modules())
            before += [(module, module.training) for module in modules]
            if not training:
                model.eval()
            elif not model.training:
                if len(modules) > 1 and not any(module.training for module in modules):
                    loguru.logger.warning(
                        f"{type(model).__name__} was wholly in eval mode; it trains in training mode. "
                        f"To keep parts of it frozen, call model.train() and then .eval() on those parts."
                    )
                model.train()
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def preserved_random_state(sources: Iterable[Any] = ()) -> Iterator[None]:
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
    numpy = sys.modules.get("numpy")
    generators = list(own_generators(sources))
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state()
    device_states = device_random_states()
    own_states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        set_device_random_states(device_states)
        for generator, state in zip(generators, own_states, strict=True):
            generator.set_state(state)


def own_generators(sources: Iterable[Any]) -> Iterator[torch.Generator]:
    """The generators that data loaders, their samplers and data sets hold themselves, each once."""
    seen = set()
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source is None or id(source) in seen:
            continue
        seen.add(id(source))
        if isinstance(source, torch.Generator):
            yield source
        elif not isinstance(source, (torch.Tensor, str, bytes, int, float, list, tuple, dict)):
            waiting += [getattr(source, name, None) for name in ("generator", "sampler", "batch_sampler", "dataset")]


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
