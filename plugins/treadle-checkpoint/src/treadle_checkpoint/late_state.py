"""State that a learner gets after training has begun: one that is built anew has no place for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from treadle.authoring import RunState, by_unique_name, generator_paths, models_by_name
from treadle.errors import NotResumableError


@dataclass(frozen=True)
class KnownState:
    """What a learner has before a fit.

    Args:
        generators: The paths of its random generators.
        tensors: The names of what the `state_dict`s of its models and its loss function hold.
    """

    generators: frozenset[str]
    tensors: frozenset[str]

    @classmethod
    def of(cls, learner: Any) -> KnownState:
        """What a learner has now."""
        return cls(generator_paths(learner), frozenset(tensor_names(learner)))

    def refuse_late(self, learner: Any, state: RunState) -> None:
        """Refuse what was made since then; a buffer of a model that was None is made again, so it passes.

        Args:
            learner: The learner.
            state: Its state now.

        Raises:
            NotResumableError: naming the random generators, or the parameters and buffers.
        """
        optional = tuple(
            f"callbacks[{key!r}]"
            for key, callback in by_unique_name(learner.callbacks).items()
            if callback.optional_state
        )
        generators = [name for name in state.part("random")["now"]["own"] if not name.startswith(optional)]
        tensors = tensor_names(learner) - set(state.part("made"))
        for what, names in (
            ("a random generator at", sorted(set(generators) - self.generators)),
            ("a parameter or buffer called", sorted(tensors - self.tensors)),
        ):
            if names:
                raise NotResumableError(
                    f"A run with {what} {', '.join(names)} could not be resumed: it was made after training had begun, "
                    f"and a learner that is built anew has none there.\n"
                    f"Fix: make it where the object that holds it is made, and not when it is first used"
                )


def tensor_names(learner: Any) -> set[str]:
    """The names of what the models' `state_dict`s hold, and after `lossfn` of what the loss function's does."""
    modules = dict(models_by_name(learner.model))
    if isinstance(learner.lossfn, nn.Module):
        modules["lossfn"] = learner.lossfn
    return {f"{prefix}.{key}" if prefix else key for prefix, module in modules.items() for key in module.state_dict()}
