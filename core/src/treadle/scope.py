"""The scope of a phase: train or eval mode, gradients, random numbers; all put back after it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch

from treadle.lazy import lazily
from treadle.random_state import preserved_random_state

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
