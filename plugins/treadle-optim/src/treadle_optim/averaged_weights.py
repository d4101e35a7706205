"""`AveragedWeights`: what callbacks that average weights have in common."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from copy import deepcopy
from typing import Any

import torch
from treadle import (
    AbstractValidationPhase,
    Callback,
    ConflictResolution,
    EvaluationPhase,
    NoConflict,
    NotDefined,
    PredictionPhase,
    RunFirst,
    Unresolvable,
    Write,
    accesses,
    hookimpl,
)
from treadle.authoring import by_name, handlers, overlaps, unwrap
from treadle.errors import CallbackError

from treadle_optim.averages import copy_into, tensors_of
from treadle_optim.kept_weights import KeptWeights, cloned

#: The phases that run with the averages.
WithAverages = AbstractValidationPhase | EvaluationPhase | PredictionPhase


class AveragedWeights(KeptWeights):
    """Averages of the weights, with which validation runs; `EMA` and `SWA` say when and how to average.

    While an epoch of validation, `learner.evaluate` or `learner.predict` runs, or a step outside of one, the averages
    are in the models, in the same tensors; then what was trained is there again, on every way out.
    """

    run_after = ("Lookahead",)

    def __init__(self) -> None:
        super().__init__()
        self._trained: dict[str, torch.Tensor] | None = None  # while the averages are in the model
        self._swap: Swap | None = None

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Outside of validation it reads the weights, when all who change them are done."""
        if unwrap(other).weights_in_validation is not None:
            return Unresolvable("Validation runs with the averages of one of them. Keep one.")
        if {"epoch", "step"} & handlers(other).keys():
            return NotDefined()
        if any(overlaps(path, "model") for path in accesses(other, Write)):
            return RunFirst(other)
        return NoConflict()

    @property
    def weights_in_validation(self) -> Mapping[str, torch.Tensor]:  # type: ignore[override]
        """The averages that validation would put in place of what is in the models."""
        return {} if self._trained is not None else self._replaced()

    def model(self) -> Any:
        """A copy of the model with the averaged weights; of several models a dict of copies."""
        if self._model is None:
            raise CallbackError(
                f"{self.name} has no model, because it joined no learner.\n"
                f"Fix: pass it to one first:\n    Learner(model, lossfn, callbacks=[{self.name.lower()}])"
            )
        models = deepcopy(by_name(self._model))
        copy = models.get("", models)
        copy_into(copy, self.weights_in_validation)
        return copy

    @hookimpl(wrapper=True)
    def epoch(
        self, learner: Any, phase: AbstractValidationPhase | EvaluationPhase | PredictionPhase
    ) -> Generator[None, object, object]:
        swap = Swap(self, learner)
        with swap, swap:  # twice, since an interrupt may come while the first one puts back
            swap.begin()
            return (yield)

    @hookimpl(wrapper=True)
    def step(
        self, learner: Any, phase: AbstractValidationPhase | EvaluationPhase | PredictionPhase
    ) -> Generator[None, object, object]:
        if self._swap is not None:
            return (yield)
        return (yield from self.epoch(learner, phase))

    def state_dict(self) -> dict[str, Any]:
        """The averages and, in the middle of validation, what was trained."""
        return {**super().state_dict(), "trained": self._trained}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._trained = cloned(state["trained"])

    def _replaced(self) -> Mapping[str, torch.Tensor]:
        """What validation runs with in place of what is in the models."""
        averages = self.averages
        return {} if averages is None else averages.values

    def refuse_in_validation(self) -> None:
        """Refuse to go on where somebody trains while the averages are in the model: it would be lost."""
        if self._swap is not None:
            raise CallbackError(
                f"The model was trained inside of validation, where {self.name} has put the averaged weights into it.\n"
                f"Fix: train when the epoch of validation has ended."
            )


class Swap:
    """`with swap, swap:` what `begin` has put into the models is replaced by what was there before.

    A swap inside of another one does nothing.
    """

    def __init__(self, owner: AveragedWeights, learner: Any) -> None:
        self.owner, self.model = owner, learner.model

    def begin(self) -> None:
        """Put the averages into the models."""
        owner = self.owner
        if owner._swap is not None:
            return
        owner._swap = self
        if owner._trained is None and (replaced := owner._replaced()):  # else a resumed run goes on in validation
            tensors = tensors_of(self.model)
            owner._trained = {name: tensors[name].detach().clone() for name in replaced}
            copy_into(self.model, replaced)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        owner = self.owner
        if owner._swap is self:
            if owner._trained is not None:
                copy_into(self.model, owner._trained)
            owner._trained = None
            owner._swap = None
