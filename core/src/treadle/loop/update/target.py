"""`Target`: what an update is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from treadle.errors import ArgumentValueError, did_you_mean
from treadle.state.gradients import Gradients
from treadle.state.models import optimizers_of
from treadle.state.propdict import PropDict, named, tensors_of
from treadle.state.views import learner_of

if TYPE_CHECKING:
    from treadle.learner import Learner


class Target(NamedTuple):
    """What an update is of.

    Attributes:
        loss: The name of the loss in the step's state.
        models: The names of the models that it changes, or None for all.
    """

    loss: str = "loss"
    models: tuple[str, ...] | None = None

    def overlaps(self, other: Target) -> bool:
        """Whether both change a model."""
        return self.models is None or other.models is None or not set(self.models).isdisjoint(other.models)

    # Each takes a learner, or the view that a callback has of it, with what that declares.

    def optimizers(self, learner: Any) -> list[torch.optim.Optimizer]:
        """The optimizers that it lets step."""
        optimizer = learner.optimizer  # which a view refuses to a callback that does not declare it
        if self.models is None:
            return list(learner_of(learner).optimizers)
        return optimizers_of({name: named(optimizer)[name] for name in self.models})

    def params(self, learner: Any) -> Mapping[str, Any]:
        """The parameters by name, as in `learner.params`."""
        params = learner.params
        return params if self.models is None else PropDict({name: named(params)[name] for name in self.models})

    def grads(self, learner: Any) -> Gradients:
        """Their gradients by name."""
        return Gradients(self.params(learner))

    def parameters(self, learner: Any) -> list[torch.nn.Parameter]:
        """Their parameters, those of the models and those that only an optimizer holds, each once.

        Of a view it takes the optimizer; the parameters of the models are where their gradients are.
        """
        found = {id(parameter): parameter for parameter in tensors_of(self.params(learner_of(learner)))}
        for optimizer in self.optimizers(learner):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if id(parameter) not in found:
                        found[id(parameter)] = parameter
        return list(found.values())


#: The update of all models by `step.loss`.
WHOLE = Target()


def target_of(learner: Learner, loss: str, models: str | Iterable[str] | None) -> Target:
    """What an update is of, checked against the learner."""
    if not isinstance(loss, str) or loss not in learner.step:
        raise ArgumentValueError(
            f"run_update got the loss {loss!r}, and the step has no such entry. "
            f"{did_you_mean(str(loss), learner.step)}\n"
            f"Fix: set it before:\n    state.{loss} = ..."
        )
    if models is None:
        return Target(loss)
    names = (models,) if isinstance(models, str) else tuple(models)
    known = named(learner.model) if len(learner.models) > 1 or not isinstance(learner.model, torch.nn.Module) else {}
    if not names or any(name not in known for name in names):
        listed = f"has the models {', '.join(known)}" if known else "has one model, without a name"
        raise ArgumentValueError(
            f"run_update got models={models!r}, and the learner {listed}.\n"
            f"Fix: {'name some of them' if known else 'leave it out'}:\n"
            f"    run_update(learner, self{f', models={next(iter(known))!r}' if known else ''})"
        )
    target = Target(loss, names)
    if not isinstance(learner.optimizer, PropDict) or any(name not in named(learner.optimizer) for name in names):
        raise ArgumentValueError(
            f"run_update got models={models!r}, which have no optimizer of their own.\n"
            f"Fix: give the learner one for each model:\n    optimizer={{{names[0]!r}: torch.optim.Adam, ...}}"
        )
    own = {id(parameter) for name in names for parameter in named(learner.model)[name].parameters()}
    for other, model in known.items():
        if other not in names:
            held = {id(parameter) for parameter in model.parameters()} - own
            for optimizer in target.optimizers(learner):
                if any(id(parameter) in held for group in optimizer.param_groups for parameter in group["params"]):
                    raise ArgumentValueError(
                        f"run_update got models={models!r}, and their optimizer holds parameters of {other} as well, "
                        f"which it would change.\n"
                        f"Fix: give each model an optimizer of its own:\n"
                        f"    optimizer={{{names[0]!r}: torch.optim.Adam, {other!r}: torch.optim.Adam}}"
                    )
    return target


def shown(target: Target) -> str:
    """A target as it was asked for."""
    models = "all models" if target.models is None else ", ".join(target.models)
    return models if target.loss == "loss" else f"{models} by {target.loss}"
