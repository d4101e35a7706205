"""`HyperParameter`: something that influences the training, can be set, and is not a parameter of the model."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from treadle import (
    Callback,
    ConflictResolution,
    Learner,
    NoConflict,
    NotDefined,
    Permission,
    Read,
    TreadleError,
    Unresolvable,
    Write,
)
from treadle.authoring import position_of
from treadle.errors import ArgumentTypeError


class HyperParameterError(TreadleError, ValueError):
    """A hyperparameter that cannot be found, or cannot take a value."""


class HyperParameter(ABC):
    """Something that influences the training, can be set, and is not a parameter of the model.

    A subclass declares which state of the learner it uses, and says how to get and set its value.
    Where a hyperparameter is expected, the class stands for an instance made without arguments.
    Two of them are equal if their types and fields are.

    Attributes:
        state_access: What `get` and `set` use of the learner, as in `Callback.state_access`.

    Example:
        >>> import torch
        >>> from treadle import Learner
        >>> class DropoutRate(HyperParameter):
        ...     state_access = {"model": Write}
        ...     def get(self, learner):
        ...         return learner.model[1].p
        ...     def set(self, learner, value):
        ...         learner.model[1].p = value
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.5))
        >>> learner = Learner(model, torch.nn.MSELoss(), use_default_callbacks=False)
        >>> get_hyperparameter(set_hyperparameter(learner, DropoutRate, 0.1), DropoutRate)
        0.1
    """

    state_access: Mapping[str, type[Permission]] = {}

    @property
    def name(self) -> str:
        """What records, logs and messages call it: its class's name."""
        return type(self).__name__

    @abstractmethod
    def get(self, learner: Learner) -> Any:
        """Its value now."""

    @abstractmethod
    def set(self, learner: Learner, value: Any) -> None:
        """Set it to a value. The learner may be a callback's view of it."""

    def check(self, learner: Learner) -> None:  # noqa: B027  # a subclass may leave it
        """Refuse a learner in which it cannot be set; asked when a fit begins. Default: nothing is refused."""

    def clashes_with(self, other: HyperParameter) -> bool:
        """Whether setting the other may undo what setting this one did. Default: if one's class is the other's."""
        return isinstance(other, type(self)) or isinstance(self, type(other))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(vars(self).values())))

    def __repr__(self) -> str:
        return self.name


AnyHyperParameter: TypeAlias = HyperParameter | type[HyperParameter]


def as_hyperparameter(value: object) -> HyperParameter:
    """The value as a hyperparameter: an instance as it is, a class as an instance of it.

    Raises:
        HyperParameterError: if it is neither.
    """
    if inspect.isclass(value) and issubclass(value, HyperParameter):
        return value()
    if isinstance(value, HyperParameter):
        return value
    raise HyperParameterError(
        f"{value!r} is not a hyperparameter.\nFix: pass LearningRate, Momentum, WeightDecay, or a subclass of "
        f"treadle_schedule.HyperParameter, or an instance of one."
    )


def get_hyperparameter(learner: Learner, H: AnyHyperParameter) -> Any:
    """The value of a hyperparameter.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import LearningRate
        >>> get_hyperparameter(toy_learner(), LearningRate)
        0.001
    """
    hyperparameter = as_hyperparameter(H)
    check_learner(learner)
    return hyperparameter.get(learner)


def set_hyperparameter(learner: Learner, H: AnyHyperParameter, value: Any) -> Learner:
    """Set a hyperparameter to a value, and return the learner.

    A number is that of the first parameter group of an optimizer; the others keep their ratio to it.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> from treadle_schedule import LearningRate
        >>> learner = set_hyperparameter(toy_learner(), LearningRate, 0.01)
        >>> learner.optimizer.param_groups[0]["lr"]
        0.01
        >>> learner.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5})
        >>> get_hyperparameter(set_hyperparameter(learner, LearningRate, 0.1), LearningRate)
        [0.1, 5.0]
    """
    hyperparameter = as_hyperparameter(H)
    check_learner(learner)
    hyperparameter.set(learner, value)
    return learner


def check_learner(learner: object) -> None:
    """Refuse what is neither a learner nor the view that a callback has of one."""
    try:
        position_of(learner)
    except ArgumentTypeError as error:
        raise HyperParameterError(
            f"{learner!r:.60} is not a learner.\nFix: pass the learner first:\n"
            f"    set_hyperparameter(learner, LearningRate, 0.01)"
        ) from error


def resolution(first: Callback, second: Callback) -> ConflictResolution:
    """How two callbacks that set hyperparameters go together: unless both set the same one."""
    if not second.hyperparameters:
        return NotDefined()
    for H in first.hyperparameters:
        if any(H.clashes_with(another) for another in second.hyperparameters):
            return Unresolvable(f"both set the hyperparameter {H.name}, and only one of them can.")
    return NoConflict()


def merged_access(declarations: Iterable[Mapping[str, type[Permission]]]) -> dict[str, type[Permission]]:
    """One `state_access` that allows what any of several allows, and no more.

    Example:
        >>> merged_access([{"optimizer.g": Write, "model": Read}, {"optimizer": Write}])
        {'model': <class 'treadle.access.Read'>, 'optimizer': <class 'treadle.access.Write'>}
    """
    merged: dict[str, type[Permission]] = {}
    for path, permission in (item for declared in declarations for item in declared.items()):
        merged[path] = Write if Write in (permission, merged.get(path)) else Read
    return {
        path: permission
        for path, permission in merged.items()
        if not any(path.startswith(f"{above}.") and issubclass(merged[above], permission) for above in merged)
    }
