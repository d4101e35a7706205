"""`OptimWrapper`: an optimizer with a value of each hyperparameter for each layer group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from treadle.authoring import did_you_mean, instance_of
from treadle.errors import ArgumentTypeError, ArgumentValueError

#: The modules whose parameters are without weight decay if `bn_wd` is False.
NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)

#: The modules whose biases are.
WITH_BIAS = (nn.Linear, nn.modules.conv._ConvNd)

EXAMPLE = "OptimWrapper.create(torch.optim.Adam, 1e-3, [body, head], wd=1e-2, true_wd=True)"

#: In a parameter group: which layer group it is of, and whether it holds what `bn_wd` is about.
LAYER_GROUP, IS_BN = "layer_group", "is_bn"


class OptimWrapper(torch.optim.Optimizer):
    """An optimizer whose hyperparameters are set by plain names, for all layer groups or for each.

    It is an optimizer itself, for `Learner(optimizer=...)`. `lr`, `mom`, `beta` and `wd` give the value of the last
    layer group; set to a number they are that of all, to a list those of each. `mom` is `momentum` or the first of the
    `betas`; `beta` the second of these, or `alpha`. Each layer group is two parameter groups of the optimizer: the
    parameters of normalisation and the biases of linear and convolutional layers are in one of their own, so that
    `bn_wd=False` leaves them without weight decay.

    With `true_wd`, weight decay is what it is in AdamW: before a step each parameter with a gradient is multiplied by
    1 - wd * lr, and the optimizer itself has a weight decay of 0.

    Args:
        opt: The optimizer. Of one that `create` did not make, each parameter group is a layer group.
        wd: The weight decay, a number or one for each layer group. Default: 0.
        true_wd: See above. Default: False.
        bn_wd: Whether weight decay is also for normalisation and biases. Default: True.

    Attributes:
        opt: The optimizer inside. It may be set to another one.

    Raises:
        ArgumentTypeError, ArgumentValueError: for what is not an optimizer, or a list of another length than there are
            layer groups.

    Example:
        >>> body, head = nn.Linear(2, 2), nn.Linear(2, 1)
        >>> opt = OptimWrapper.create(torch.optim.Adam, [1e-4, 1e-3], [body, head], wd=0.1, true_wd=True)
        >>> opt.lr, opt.mom, opt.beta, opt.wd
        (0.001, 0.9, 0.999, 0.1)
        >>> opt.mom = 0.8
        >>> opt.opt.param_groups[0]["betas"], len(opt.opt.param_groups)
        ((0.8, 0.999), 4)
        >>> opt.read_val("lr")
        [0.0001, 0.001]
    """

    def __init__(
        self,
        opt: torch.optim.Optimizer,
        wd: float | Sequence[float] | None = 0.0,
        true_wd: bool = False,
        bn_wd: bool = True,
    ) -> None:
        instance_of(opt, "OptimWrapper(opt)", torch.optim.Optimizer, EXAMPLE)
        self._replace: Callable[[Any], None] | None = None
        self.true_wd, self.bn_wd, self.opt_func = true_wd, bn_wd, type(opt)
        self._opt = opt
        torch.optim.Optimizer.__setstate__(self, {})  # the hooks, without groups of its own
        if wd is not None:
            self.wd = wd

    @classmethod
    def around(cls, opt: torch.optim.Optimizer, replace: Callable[[Any], None]) -> OptimWrapper:
        """One for an optimizer as it is; `replace` is called with what is set in its place."""
        wrapper = cls(opt, wd=None)
        wrapper._replace = replace
        return wrapper

    @classmethod
    def create(
        cls,
        opt_func: Callable[..., torch.optim.Optimizer],
        lr: float | slice | Sequence[float],
        layer_groups: Sequence[nn.Module],
        wd: float | Sequence[float] = 0.0,
        true_wd: bool = False,
        bn_wd: bool = True,
        **kwargs: Any,
    ) -> OptimWrapper:
        """An optimizer of layer groups.

        Args:
            opt_func: Makes the optimizer of parameter groups, such as `torch.optim.Adam`.
            lr: The learning rate, one for each layer group, or a slice as in `lr_range`.
            layer_groups: The modules, the first of the model first.
            kwargs: More arguments of `opt_func`.
        """
        groups = list(layer_groups)
        for i, group in enumerate(groups):
            instance_of(group, f"OptimWrapper.create(layer_groups[{i}])", nn.Module, EXAMPLE)
        rates = listed("lr", lr_range(lr, len(groups)) if isinstance(lr, slice) else lr, len(groups))
        split = split_no_wd_params(groups)
        opt = opt_func(
            [
                {"params": params, "lr": rates[i // 2], LAYER_GROUP: i // 2, IS_BN: bool(i % 2)}
                for i, params in enumerate(split)
            ],
            **kwargs,
        )
        wrapper = cls(opt, wd=wd, true_wd=true_wd, bn_wd=bn_wd)
        wrapper.opt_func = opt_func  # type: ignore[assignment]
        return wrapper

    def new(self, layer_groups: Sequence[nn.Module]) -> OptimWrapper:
        """One of other layer groups, with the hyperparameters of the last of these."""
        opt = self.create(self.opt_func, self.lr, layer_groups, wd=self.wd, true_wd=self.true_wd, bn_wd=self.bn_wd)
        for name in ("mom", "beta"):
            if (value := getattr(self, name)) is not None:
                setattr(opt, name, value)
        return opt

    # As an optimizer: what is inside has the groups and the state.

    @property
    def opt(self) -> torch.optim.Optimizer:
        """The optimizer inside."""
        return self._opt

    @opt.setter
    def opt(self, opt: torch.optim.Optimizer) -> None:
        self._opt = instance_of(opt, "OptimWrapper.opt", torch.optim.Optimizer, EXAMPLE)
        if self._replace is not None:
            self._replace(opt)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The parameter groups of the optimizer inside."""
        return self._opt.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the optimizer inside."""
        return self._opt.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The defaults of the optimizer inside."""
        return self._opt.defaults

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_replace"} | {"_replace": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        torch.optim.Optimizer.__setstate__(self, {})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a parameter group to the optimizer inside."""
        self._opt.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer inside, which has all hyperparameters."""
        return self._opt.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self._opt.load_state_dict(state_dict)

    def step(self, closure: Any = None) -> Any:
        """Set weight decay, if it is the true one, and let the optimizer step."""
        if self.true_wd:
            with torch.no_grad():
                for group in self.param_groups:
                    if wd := group.get("true_wd", 0.0):
                        factor = 1 - wd * group["lr"]
                        for parameter in group["params"]:
                            if parameter.grad is not None:
                                parameter.mul_(factor)
        return self._opt.step() if closure is None else self._opt.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self._opt.zero_grad(set_to_none)

    def clear(self) -> None:
        """Reset the state of the optimizer inside."""
        self._opt.load_state_dict({**self._opt.state_dict(), "state": {}})

    def __repr__(self) -> str:
        return f"OptimWrapper over {self._opt!r}.\nTrue weight decay: {self.true_wd}"

    # The hyperparameters.

    @property
    def lr(self) -> Any:
        """The learning rate."""
        return self.read_val("lr")[-1]

    @lr.setter
    def lr(self, value: Any) -> None:
        self.set_val("lr", value)

    @property
    def mom(self) -> Any:
        """The momentum; None of an optimizer that has none."""
        key = self._key_of("momentum", "betas")
        return None if key is None else self.read_val("betas")[0][-1] if key == "betas" else self.read_val(key)[-1]

    @mom.setter
    def mom(self, value: Any) -> None:
        key = self._key_of("momentum", "betas")
        if key is None:
            raise self._without("mom")
        if key == "betas":
            self.set_val("betas", (value, self.read_val("betas")[1]))
        else:
            self.set_val(key, value)

    @property
    def beta(self) -> Any:
        """The second of the betas, or alpha; None of an optimizer that has neither."""
        key = self._key_of("betas", "alpha")
        return None if key is None else self.read_val("betas")[1][-1] if key == "betas" else self.read_val(key)[-1]

    @beta.setter
    def beta(self, value: Any) -> None:
        if value is None:
            return
        key = self._key_of("betas", "alpha")
        if key is None:
            raise self._without("beta")
        if key == "betas":
            self.set_val("betas", (self.read_val("betas")[0], value))
        else:
            self.set_val(key, value)

    @property
    def wd(self) -> Any:
        """The weight decay."""
        if self.true_wd:
            return self._first_groups()[-1].get("true_wd", 0.0)
        return self.read_val("weight_decay")[-1] if self._key_of("weight_decay") else None

    @wd.setter
    def wd(self, value: Any) -> None:
        values = listed("wd", value, len(self._first_groups()))
        if self._key_of("weight_decay") is None and not self.true_wd:
            if any(values):
                raise self._without("wd")
            return
        if self._key_of("weight_decay"):
            self.set_val("weight_decay", 0.0)  # also where the optimizer has one by default
        if not self.true_wd:
            self.set_val("weight_decay", values, bn_groups=self.bn_wd)
            return
        for group in self.param_groups:
            group["true_wd"] = 0.0
        for number, group in self._numbered(bn_groups=self.bn_wd):
            group["true_wd"] = values[number]

    def get_stat(self, name: str) -> Any:
        """A hyperparameter by one of the four names, or by the optimizer's own; that of the last layer group."""
        return getattr(self, name) if name in ("lr", "mom", "beta", "wd") else self.read_val(name)[-1]

    def set_stat(self, name: str, value: Any) -> None:
        """Set a hyperparameter by one of the four names, or by the optimizer's own."""
        if name in ("lr", "mom", "beta", "wd"):
            setattr(self, name, value)
        else:
            self.set_val(name, value)

    def read_val(self, key: str) -> Any:
        """The values of a key of the optimizer for each layer group; for a pair, such as the betas, a pair of lists."""
        self._check_key(key)
        values = [group[key] for group in self._first_groups()]
        if isinstance(values[0], tuple):
            return [value[0] for value in values], [value[1] for value in values]
        return values

    def set_val(self, key: str, val: Any, bn_groups: bool = True) -> Any:
        """Set a key of the optimizer: a value for all layer groups, or a list with one for each.

        Args:
            val: A number or a list; for a pair, such as the betas, a pair of these.
            bn_groups: Whether to set it for normalisation and biases as well.
        """
        self._check_key(key)
        count = len(self._first_groups())
        if isinstance(val, tuple):
            values: list[Any] = list(zip(*(listed(key, part, count) for part in val), strict=True))
        else:
            values = listed(key, val, count)
        for number, group in self._numbered(bn_groups=bn_groups):
            old, new = group[key], values[number]
            group[key] = old.fill_(new) if isinstance(old, torch.Tensor) else new
        return val

    def _numbered(self, *, bn_groups: bool = True) -> Iterable[tuple[int, dict[str, Any]]]:
        """The parameter groups, each with the number of its layer group."""
        for i, group in enumerate(self.param_groups):
            if bn_groups or not group.get(IS_BN, False):
                yield group.get(LAYER_GROUP, i), group

    def _first_groups(self) -> list[dict[str, Any]]:
        """For each layer group the parameter group that shows its values."""
        found: dict[int, dict[str, Any]] = {}
        for number, group in self._numbered():
            found.setdefault(number, group)
        return list(found.values())

    def _key_of(self, *keys: str) -> str | None:
        return next((key for key in keys if key in self.param_groups[0]), None)

    def _check_key(self, key: str) -> None:
        group = self.param_groups[0]
        if key not in group:
            known = [name for name in group if name not in ("params", LAYER_GROUP, IS_BN)]
            raise ArgumentValueError(
                f"{type(self._opt).__name__} has no hyperparameter {key!r}. {did_you_mean(key, known)}\n"
                f"Fix: name one that it has: {', '.join(known)}."
            )

    def _without(self, name: str) -> ArgumentValueError:
        return ArgumentValueError(
            f"{type(self._opt).__name__} has nothing that `{name}` could set.\n"
            f"Fix: leave it out, or use an optimizer that has it:\n    torch.optim.Adam"
        )


def listed(name: str, value: Any, count: int) -> list[Any]:
    """A value for each of some layer groups.

    Raises:
        ArgumentValueError: for a list of another length.
    """
    if not isinstance(value, list | tuple):
        return [value] * count
    if len(value) != count:
        raise ArgumentValueError(
            f"{name} has {len(value)} values, and there {'is' if count == 1 else 'are'} {count} layer "
            f"group{'' if count == 1 else 's'}.\nFix: pass a number for all of them, or a list of {count}."
        )
    return list(value)


def lr_range(lr: Any, count: int) -> Any:
    """The learning rates of some layer groups: `slice(a, b)` is spaced geometrically, `slice(b)` is b / 10 and last b.

    Anything else is returned as it is.

    Example:
        >>> lr_range(slice(1e-5, 1e-3), 3)
        [1e-05, 0.0001, 0.001]
        >>> lr_range(slice(1e-3), 3)
        [0.0001, 0.0001, 0.001]
    """
    if not isinstance(lr, slice):
        return lr
    if lr.step is not None or lr.stop is None:
        raise ArgumentTypeError(
            f"The learning rates {lr!r} are not a range.\nFix: write slice(start, stop), or slice(stop):\n"
            f"    slice(1e-5, 1e-3)"
        )
    if lr.start is None:
        return [lr.stop / 10] * (count - 1) + [lr.stop]
    if count == 1:
        return [lr.stop]
    return [lr.start * (lr.stop / lr.start) ** (i / (count - 1)) for i in range(count)]


def split_no_wd_params(layer_groups: Iterable[nn.Module]) -> list[list[nn.Parameter]]:
    """The trained parameters of layer groups: for each, first all others, then those of normalisation and biases.

    A parameter that several modules share is in the first of these places.

    Example:
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> [len(group) for group in split_no_wd_params([layers])]
        [1, 3]
    """
    seen: set[int] = set()
    split: list[list[nn.Parameter]] = []
    for layer_group in layer_groups:
        others: list[nn.Parameter] = []
        without: list[nn.Parameter] = []
        for module in layer_group.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in seen or not parameter.requires_grad:
                    continue
                seen.add(id(parameter))
                is_bias = isinstance(module, WITH_BIAS) and name == "bias"
                (without if isinstance(module, NORMS) or is_bias else others).append(parameter)
        split += [others, without]
    return split
