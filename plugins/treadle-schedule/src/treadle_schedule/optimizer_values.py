"""The hyperparameters that an optimizer keeps: `LearningRate`, `Momentum`, `WeightDecay`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from treadle import Learner, Permission, Write
from treadle.authoring import by_name

from treadle_schedule.hyperparameter import HyperParameter, HyperParameterError
from treadle_schedule.schedule import AT_LEAST_0, Must, is_number, is_whole

Group: TypeAlias = MutableMapping[str, Any]


@dataclass(frozen=True, repr=False)
class OptimizerValue(HyperParameter):
    """A number that an optimizer keeps for each of its parameter groups.

    A number is for the first group, and the others keep their ratio to it, also where it was 0 in between; a list
    or a tuple has a value for each group. With several optimizers their groups count in order, as if they were
    those of one. Where groups differ, the ratio stands beside the value, under `lr_base` for `lr`, so that it is
    saved with the optimizer. A value that is kept in a tensor, as `capturable` optimizers do, is changed in place.

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
        cls = type(self).__name__
        for name, value, kind, valid in (
            ("optimizer", self.optimizer, "a name", isinstance(self.optimizer, str) and self.optimizer.isidentifier()),
            ("group", self.group, "an index", is_whole(self.group)),
        ):
            if value is not None and not valid:
                raise HyperParameterError(
                    f"{cls}: `{name}` must be {kind}, not {value!r}.\n"
                    f'Fix: write, for example:\n    {cls}(optimizer="generator", group=0)'
                )

    @property
    def name(self) -> str:
        """Its class's name, with the optimizer and the group that are meant: `LearningRate[0]`."""
        return type(self).__name__ + "".join(f"[{part}]" for part in (self.optimizer, self.group) if part is not None)

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """The optimizer, or the one of several that is meant."""
        return {"optimizer" if self.optimizer is None else f"optimizer.{self.optimizer}": Write}

    def get(self, learner: Learner) -> float | list[float]:
        """The value: one number if all groups have the same, otherwise a list with that of each group.

        Setting a list to what this returned changes nothing.
        """
        values = [float(self.read(group)) for group in self._chosen(self._optimizer_groups(learner))]
        return values if len(set(values)) > 1 else values[0]

    def check(self, learner: Learner) -> None:
        """Refuse a learner whose optimizer does not have it."""
        self.get(learner)

    def set(self, learner: Learner, value: float | torch.Tensor | Sequence[float]) -> None:
        """Set the first group to a value, and the others in their ratio to it; or each group to one of several.

        Raises:
            HyperParameterError: if a value is not what it must be, or there are not as many as groups, or the
                first group has 0 and others have not, so that there is no ratio to keep.
        """
        all_groups = self._optimizer_groups(learner)
        groups = self._chosen(all_groups)
        values = self._values(groups, value)
        for i, new in enumerate(values):
            self._check(new, i)
        if self.group is not None or any(new is not values[0] for new in values):
            separate(all_groups, self.key)
        if self.group is not None or isinstance(value, list | tuple):
            for group in all_groups:  # from now on they have another ratio
                group.pop(self._base, None)
        for group, new in zip(groups, values, strict=True):
            self.write(group, new)

    def _values(self, groups: list[Group], value: Any) -> list[Any]:
        """The value for each group."""
        if not isinstance(value, list | tuple):
            self._check(value, 0)
            if len(groups) == 1:
                return [value]
            if isinstance(value, torch.Tensor) and not isinstance(self.read(groups[0]), torch.Tensor):
                value = value.item()
            return [value if ratio == 1 else value * ratio for ratio in self._ratios(groups)]
        if len(value) != len(groups):
            raise HyperParameterError(
                f"{self.name} got {len(value)} values for {len(groups)} parameter groups.\n"
                f"Fix: pass one for each group, or a number for the first, to which the others keep their ratio."
            )
        return list(value)

    @property
    def _base(self) -> str:
        return f"{self.key}_base"

    def _ratios(self, groups: list[Group]) -> list[float]:
        """The ratio of each group to the first: as it was remembered, unless somebody else set them since."""
        values = [self.read(group) for group in groups]
        bases: list[Any] = [group.get(self._base) for group in groups]
        if None not in bases and bases[0]:
            ratios = [base / bases[0] for base in bases]
            if all(
                isinstance(value, torch.Tensor) or value == values[0] * ratio
                for value, ratio in zip(values, ratios, strict=True)
            ):
                return ratios
        numbers = [float(value) for value in values]
        equal = len(set(numbers)) == 1
        if equal and not any(isinstance(value, torch.Tensor) for value in values):
            for group in groups:
                group.pop(self._base, None)
            return [1.0] * len(groups)
        if not equal and not numbers[0]:
            raise HyperParameterError(
                f"{self.name}: the parameter groups have {numbers}, and the others have no ratio to the first, 0.\n"
                f"Fix: pass a value for each group, or set one of them:\n    {type(self).__name__}(group=1)"
            )
        bases = [1.0] * len(groups) if equal else numbers
        for group, base in zip(groups, bases, strict=True):
            group[self._base] = base
        return [base / bases[0] for base in bases]

    def read(self, group: Group) -> Any:
        """The value of one parameter group."""
        if self.key not in group:
            keys = ", ".join(key for key in group if key != "params")
            raise HyperParameterError(
                f"{self.name}: this optimizer has no `{self.key}`.\n"
                f"Fix: set something that it has for its parameter groups: {keys}."
            )
        return group[self.key]

    def write(self, group: Group, value: float | torch.Tensor) -> None:
        """Set one parameter group to a value."""
        group[self.key] = replaced(self.read(group), value)

    def clashes_with(self, other: HyperParameter) -> bool:
        """Whether both are of a kind and mean an optimizer and a group in common."""
        if not (super().clashes_with(other) and isinstance(other, OptimizerValue)):
            return False
        if None not in (self.optimizer, other.optimizer) and self.optimizer != other.optimizer:
            return False
        group, another = self.group, other.group
        return group is None or another is None or group == another or (group < 0) != (another < 0)  # -1 may be 1

    def _optimizer_groups(self, learner: Learner) -> list[Group]:
        """The parameter groups of the optimizer that is meant, or of all in their order."""
        optimizer: Any = learner.optimizer
        if self.optimizer is not None:
            try:
                optimizer = getattr(optimizer, self.optimizer)
            except AttributeError as error:
                raise HyperParameterError(
                    f"{self.name} means an optimizer called {self.optimizer!r}. {error}\n"
                    f"Fix: with a single optimizer, leave the name out:\n    {type(self).__name__}()"
                ) from error
        return [group for optimizer in by_name(optimizer).values() for group in optimizer.param_groups]

    def _chosen(self, groups: list[Group]) -> list[Group]:
        if self.group is None:
            return groups
        if not -len(groups) <= self.group < len(groups):
            raise HyperParameterError(
                f"{self.name}: there is no parameter group {self.group}.\n"
                f"Fix: choose one of the {len(groups)}, counted from 0."
            )
        return [groups[self.group]]

    def _check(self, value: object, i: int) -> None:
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return  # the number may be on a device, which no step waits for
        if not self.must.test(value):
            where = f" for the parameter group {i}" if i else ""
            raise HyperParameterError(
                f"{self.name} has an invalid value{where}: {value!r}.\nFix: set it to {self.must.be}."
            )


@dataclass(frozen=True, repr=False)
class LearningRate(OptimizerValue):
    """The learning rate, `lr`. The arguments are those of `OptimizerValue`.

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

    The arguments are those of `OptimizerValue`.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> learner = set_hyperparameter(toy_learner(optimizer=torch.optim.Adam), Momentum, 0.85)
        >>> learner.optimizer.param_groups[0]["betas"]
        (0.85, 0.999)
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
    """The weight decay, `weight_decay`. The arguments are those of `OptimizerValue`.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import get_hyperparameter, set_hyperparameter
        >>> get_hyperparameter(set_hyperparameter(toy_learner(), WeightDecay, 0.01), WeightDecay)
        0.01
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
