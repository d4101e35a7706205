"""The hyperparameters that an optimizer keeps: `LearningRate`, `Momentum`, `WeightDecay`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from treadle import Learner, Permission, Write

from treadle_schedule.errors import HyperParameterError
from treadle_schedule.fields import AT_LEAST_0, Must, is_number, is_whole
from treadle_schedule.hyperparameter import HyperParameter

Group: TypeAlias = MutableMapping[str, Any]


@dataclass(frozen=True, repr=False)
class OptimizerValue(HyperParameter):
    """A number that an optimizer keeps for each of its parameter groups.

    Set to a number, all groups take it; set to a list or a tuple, each group takes its own. A value that
    is kept in a tensor, as `capturable` optimizers do, is changed in place.

    Args:
        optimizer: With several optimizers, the name of the one that is meant. Default: all of them.
        group: The index of the one parameter group that is meant. Default: all of them.

    Attributes:
        key: What the optimizers call it.
        must: What a value must be.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> class Dampening(OptimizerValue):
        ...     key = "dampening"
        >>> learner = set_hyperparameter(toy_learner(), Dampening, 0.1)
        >>> get_hyperparameter(learner, Dampening), learner.optimizer.param_groups[0]["dampening"]
        (0.1, 0.1)
    """

    optimizer: str | None = None
    group: int | None = None

    key: ClassVar[str]
    must: ClassVar[Must] = AT_LEAST_0

    def __post_init__(self) -> None:
        for field, kind, test in (("optimizer", "a name", is_name), ("group", "an index", is_whole)):
            given = getattr(self, field)
            if given is not None and not test(given):
                raise HyperParameterError(
                    f"{type(self).__name__}: `{field}` must be {kind}, not {given!r}: "
                    f'{type(self).__name__}(optimizer="generator", group=0)'
                )

    @property
    def name(self) -> str:
        """Its class's name, with the optimizer and the group that are meant: `LearningRate[0]`."""
        chosen = (place for place in (self.optimizer, self.group) if place is not None)
        return type(self).__name__ + "".join(f"[{place}]" for place in chosen)

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """The optimizer, or the one of several that is meant."""
        return {"optimizer" if self.optimizer is None else f"optimizer.{self.optimizer}": Write}

    def get(self, learner: Learner) -> float | list[float]:
        """The value: one number if all groups have the same, otherwise a list with that of each group."""
        values = [float(self.read(group)) for group in self._chosen(self._optimizer_groups(learner))]
        return values if len(set(values)) > 1 else values[0]

    def set(self, learner: Learner, value: float | torch.Tensor | Sequence[float]) -> None:
        """Give all groups a value, or each its own.

        Raises:
            HyperParameterError: if a value is not what it must be, or there are not as many as groups.
        """
        everything = self._optimizer_groups(learner)
        groups = self._chosen(everything)
        several = isinstance(value, list | tuple)
        values: list[Any] = list(value) if several else [value] * len(groups)  # type: ignore[arg-type]
        if len(values) != len(groups):
            raise HyperParameterError(
                f"{self.name} got {len(values)} values for {len(groups)} parameter groups. "
                f"Give one for each, or a number for all."
            )
        for each in values:
            self._check(each)
        if several or self.group is not None:
            separate(everything, self.key)
        for group, each in zip(groups, values, strict=True):
            self.write(group, each)

    def read(self, group: Group) -> Any:
        """The value of one parameter group."""
        if self.key not in group:
            there = ", ".join(key for key in group if key != "params")
            raise HyperParameterError(
                f"{self.name}: this optimizer keeps no `{self.key}`. What it keeps for a parameter group is: {there}."
            )
        return group[self.key]

    def write(self, group: Group, value: float | torch.Tensor) -> None:
        """Give one parameter group a value."""
        group[self.key] = replaced(self.read(group), value)

    def clashes_with(self, other: HyperParameter) -> bool:
        """Whether both are of a kind and mean an optimizer and a group in common."""
        if not (super().clashes_with(other) and isinstance(other, OptimizerValue)):
            return False
        own, others = self.group, other.group
        return (None in (self.optimizer, other.optimizer) or self.optimizer == other.optimizer) and (
            own is None or others is None or own == others or (own < 0) != (others < 0)  # -1 may be the same as 1
        )

    def _optimizer_groups(self, learner: Learner) -> list[Group]:
        """The parameter groups of the optimizer that is meant, or of all in their order."""
        optimizer: Any = learner.optimizer
        if self.optimizer is not None:
            try:
                optimizer = getattr(optimizer, self.optimizer)
            except AttributeError as error:
                raise HyperParameterError(
                    f"{self.name} means an optimizer called {self.optimizer!r}. {error} "
                    f"With a single optimizer, leave the name out: {type(self).__name__}()"
                ) from error
        optimizers = (optimizer,) if isinstance(optimizer, torch.optim.Optimizer) else optimizer.values()
        return [group for each in optimizers for group in each.param_groups]

    def _chosen(self, groups: list[Group]) -> list[Group]:
        if self.group is None:
            return groups
        if not -len(groups) <= self.group < len(groups):
            raise HyperParameterError(
                f"{self.name}: there is no parameter group {self.group}. There are {len(groups)}, counted from 0."
            )
        return [groups[self.group]]

    def _check(self, value: object) -> None:
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return  # its number may be on a device, and nobody waits for that in a step
        if not self.must.test(value):
            raise HyperParameterError(f"{self.name} must be {self.must.be}, not {value!r}.")


@dataclass(frozen=True, repr=False)
class LearningRate(OptimizerValue):
    """The learning rate, `lr`.

    Args:
        optimizer: With several optimizers, the name of the one that is meant. Default: all of them.
        group: The index of the one parameter group that is meant. Default: all of them.

    Reads: optimizer
    Writes: optimizer

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> learner = set_hyperparameter(toy_learner(), LearningRate, 0.01)
        >>> get_hyperparameter(learner, LearningRate)
        0.01
    """

    key = "lr"


@dataclass(frozen=True, repr=False)
class Momentum(OptimizerValue):
    """The momentum: `momentum` of SGD and its like, the first of the `betas` of Adam and its like.

    Args:
        optimizer: With several optimizers, the name of the one that is meant. Default: all of them.
        group: The index of the one parameter group that is meant. Default: all of them.

    Reads: optimizer
    Writes: optimizer

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> learner = set_hyperparameter(toy_learner(optimizer=torch.optim.Adam), Momentum, 0.85)
        >>> learner.optimizer.param_groups[0]["betas"]
        (0.85, 0.999)

    Source: fastai, `OptimWrapper.mom`.
    """

    key = "momentum"
    must = Must("a number of at least 0 and less than 1", lambda value: is_number(value) and 0 <= value < 1)

    def read(self, group: Group) -> Any:
        return group["betas"][0] if "betas" in group else super().read(group)

    def write(self, group: Group, value: float | torch.Tensor) -> None:
        if "betas" in group:
            first, *others = group["betas"]
            group["betas"] = (replaced(first, value), *others)
        else:
            super().write(group, value)


@dataclass(frozen=True, repr=False)
class WeightDecay(OptimizerValue):
    """The weight decay, `weight_decay`.

    Args:
        optimizer: With several optimizers, the name of the one that is meant. Default: all of them.
        group: The index of the one parameter group that is meant. Default: all of them.

    Reads: optimizer
    Writes: optimizer

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> get_hyperparameter(set_hyperparameter(toy_learner(), WeightDecay, 0.01), WeightDecay)
        0.01

    Source: fastai, `OptimWrapper.wd`.
    """

    key = "weight_decay"


def replaced(old: Any, new: float | torch.Tensor) -> Any:
    """What stands in the place of an old value: the old tensor, changed in place, or a plain number."""
    if isinstance(old, torch.Tensor):
        return old.copy_(new) if isinstance(new, torch.Tensor) else old.fill_(new)
    return new.item() if isinstance(new, torch.Tensor) else float(new)


def separate(groups: Iterable[Group], key: str) -> None:
    """Give each group a tensor of its own where several share one, as after `Adam(groups, lr=tensor)`."""
    seen = set()
    for group in groups:
        if isinstance(value := group.get(key), torch.Tensor):
            if id(value) in seen:
                group[key] = value.clone()
            seen.add(id(value))


def is_name(value: object) -> bool:
    """Whether it can be a part of a path."""
    return isinstance(value, str) and value.isidentifier()
