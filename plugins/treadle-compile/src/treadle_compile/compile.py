"""`Compile`: compile the model."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from treadle import Callback, ConflictResolution, Unresolvable, Write
from treadle.authoring import by_name, unwrap

from treadle_compile.options import checked_options
from treadle_compile.unless_decided import unless_decided


class Compile(Callback):
    """Compile the model, each of several, in place, as `model.compile(**options)` does.

    The model stays the object that it is, with the names that its parameters have, so checkpoints, optimizers and
    other callbacks notice nothing. What torch cannot compile runs as it is written. The first step of a training and of
    a validation takes the time of the compilation, and so does a batch of another shape.

    Numbers are equal up to rounding, not bit for bit.

    Args:
        **options: Those of `torch.compile`: `mode`, `backend`, `dynamic`, `fullgraph`, `options`.

    Writes: `model`.

    Raises:
        ArgumentTypeError: if `torch.compile` has no such option.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.compile.html

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(Compile(backend="eager"))
        >>> result = learner.fit(1)
        >>> result.steps, list(learner.model.state_dict())
        (16, ['weight'])
    """

    state_access = {"model": Write}
    run_after = ("to_device",)  # which may replace the model
    optional_state = True

    def __init__(self, **options: Any) -> None:
        self.options = checked_options(options, "Compile", without={"disable": "leave out the callback instead."})
        self._compiled: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """It changes how a model is run, not what it is; who runs it otherwise says what becomes of that."""
        if isinstance(unwrap(other), Compile):
            return Unresolvable("A model is compiled once. Keep one of them.")
        return unless_decided(self, other)

    def on_init(self, learner: Any) -> None:
        for model in by_name(learner.model).values():
            if model not in self._compiled:
                model.compile(**self.options)
                self._compiled.add(model)
