"""What of a learner's state changed between two moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from treadle.state.gradients import Gradients
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState
from treadle.testing.comparison.attributes import Held, hooks_of, of_callback, of_module, tensors_of
from treadle.testing.comparison.frozen import FrozenObject, FrozenTensor, frozen, same
from treadle.testing.comparison.settings import SETTINGS as SETTINGS_OF_PROCESS

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.learner import Learner

#: Paths of what is not state of the learner and yet decides the result of a training, and of callbacks' own attributes.
RANDOM, SETTINGS, ATTRIBUTES = "random generators", "settings", "callbacks"


@dataclass(frozen=True)
class Part:
    """A part of a learner's state as it was at some moment.

    Args:
        path: `params.weight`, for instance, or one of `RANDOM`, `SETTINGS` and `ATTRIBUTES`.
        what: Its name in a message.
        state: A frozen copy, or an object that is compared by identity.
        owners: The paths of which a `Write` allows to change it, the most specific first.
        callback: Of a callback's attribute, that callback.
        by_forward: Whether a forward pass may change it, as it does running statistics.
        lent: Whether it may be changed for a while by whoever puts it back.
    """

    path: str
    what: str
    state: Any
    owners: tuple[str, ...] = ()
    callback: Callback | None = None
    by_forward: bool = False
    lent: bool = False


@dataclass(frozen=True)
class Change:
    """A part of a learner's state that is no longer as it was.

    Args:
        part: As it is now; one that was removed, as it was.
        how: "changed in place", "replaced" and so on.
        before: As it was; None for one that was added.
    """

    part: Part
    how: str
    before: Part | None = None

    def __str__(self) -> str:
        return f"{self.part.what} ({self.how})"


class Moment:
    """A learner's state at a moment, as far as the result of a training depends on it.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> before = Moment(learner)
        >>> _ = learner.model.weight.data.fill_(2)
        >>> [str(change) for change in before.changes(Moment(learner))]
        ['`params.weight` (changed in place)']
    """

    def __init__(self, learner: Learner) -> None:
        self.parts = {(part.path, part.what): part for part in parts(learner)}

    def changes(self, after: Moment, *, strict: bool = True) -> list[Change]:
        """What is different at a later moment.

        Args:
            strict: Whether something that was replaced by an equal one counts. Default: True.
        """
        found = []
        for key in self.parts | after.parts:
            old, new = self.parts.get(key), after.parts.get(key)
            if old is None or new is None:
                found.append(Change(new or old, "added" if old is None else "removed", old))  # type: ignore[arg-type]
            elif (how := difference(old.state, new.state, strict=strict)) is not None:
                found.append(Change(new, how, old))
        return found


def difference(old: Any, new: Any, *, strict: bool) -> str | None:
    """How a state differs from what it was, or None."""
    if isinstance(old, Identity) and isinstance(new, Identity):
        return "replaced" if strict and old.value is not new.value else None
    if isinstance(old, Contents) and isinstance(new, Contents):  # others are in a part of their own
        return None if old.value is not new.value or same(old.tensors, new.tensors) else "changed in place"
    if isinstance(old, Held) and isinstance(new, Held):
        return None if old.same(new) else "changed"
    if strict and isinstance(old, FrozenTensor) and isinstance(new, FrozenTensor):
        return old.change(new)
    if strict and isinstance(old, Nested) and isinstance(new, Nested):
        if len(old.tensors) != len(new.tensors):
            return "replaced"
        changes = (before.change(now) for before, now in zip(old.tensors, new.tensors, strict=True))
        if (how := next((change for change in changes if change is not None), None)) is not None:
            return how
    old, new = (value.rest if isinstance(value, Nested) else value for value in (old, new))
    return None if same(old, new) else "changed"


@dataclass(frozen=True)
class Identity:
    """An object that is compared by identity."""

    value: Any


@dataclass(frozen=True)
class Contents:
    """Data, and their tensors as they were."""

    value: Any
    tensors: list[FrozenTensor]


class Nested:
    """What a nested value holds, with its tensors in a list to compare them by identity as well."""

    def __init__(self, value: Any) -> None:
        self.rest = frozen(value)
        self.tensors = list(_tensors(self.rest))


def _tensors(copy: Any) -> Iterator[FrozenTensor]:
    if isinstance(copy, FrozenTensor):
        yield copy
    elif isinstance(copy, FrozenObject):
        yield from _tensors(copy.content)
    elif isinstance(copy, (list, dict)):
        for item in copy.values() if isinstance(copy, dict) else copy:
            yield from _tensors(item)


def parts(learner: Learner) -> Iterator[Part]:
    """Every part of a learner's state."""
    for path, model in _named(learner.model, "model"):
        yield from _model(path, model)
    for path, optimizer in _named(learner.optimizer, "optimizer"):
        yield Part(path, f"`{path}`", frozen(optimizer.state_dict()), (path,))
    yield from _lossfn(learner.lossfn)
    for name, data in learner.data.items():
        yield Part(f"data.{name}", f"`data.{name}`", Identity(data), (f"data.{name}",))
        yield Part(f"data.{name}", f"a tensor of `data.{name}`", Contents(data, tensors_of(data)), (f"data.{name}",))
    yield Part("step", "`step`", Identity(learner.step), ("step",))
    for name, value in learner.step.items():
        if not isinstance(value, Gradients):  # a view of the parameters' own
            yield Part(f"step.{name}", f"`step.{name}`", Nested(value), (f"step.{name}",))
    yield from _entries(learner.cbstate, "cbstate")
    for callback in learner.callbacks:
        for name, attribute in of_callback(callback).items():
            what = f"the attribute `{name}` of {callback.name}"
            yield Part(ATTRIBUTES, what, attribute, callback=callback)
    yield from _surroundings(learner)


def _named(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """One object, or each of several, with its path."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield f"{path}.{name}", item
    else:
        yield path, value


def _model(path: str, model: nn.Module) -> Iterator[Part]:
    params = "params" + path.removeprefix("model")
    modules = dict(model.named_modules())
    yield Part(path, f"the structure of `{path}`", [Identity(module) for module in modules.values()], (path,))
    modes = {name: module.training for name, module in modules.items()}
    yield Part(path, f"a training mode in `{path}`", modes, (path,))
    for name, buffer in model.named_buffers():  # in which a forward pass counts, and whoever makes one restores it
        state = FrozenTensor(buffer, counted=False)
        yield Part(f"{path}.{name}", f"the buffer {name} of `{path}`", state, (path,), by_forward=True)
    hooks = [hooks_of(module) for module in modules.values()]
    yield Part(path, f"the hooks of modules in `{path}`", hooks, (path,), lent=True)
    for name, module in modules.items():
        where = f"{path}.{name}" if name else path
        for attribute, value in of_module(module).items():
            yield Part(path, f"the attribute `{attribute}` of `{where}`", value, (path,), by_forward=True)
    for name, parameter in model.named_parameters():
        where = f"{params}.{name}"
        yield Part(where, f"`{where}`", FrozenTensor(parameter), (params, path, where))
        gradient = None if parameter.grad is None else FrozenTensor(parameter.grad)
        yield Part("step.grads", f"the gradient of `{where}`", gradient, ("step.grads", params, path, where))


def _lossfn(lossfn: Any) -> Iterator[Part]:
    yield Part("lossfn", "`lossfn`", Identity(lossfn), ("lossfn",))
    if isinstance(lossfn, nn.Module):
        yield Part("lossfn", "the state of `lossfn`", Nested(lossfn), ("lossfn",))


def _entries(state: PropDict, path: str) -> Iterator[Part]:
    for name, value in state.items():
        where = f"{path}.{name}"
        if isinstance(value, PropDict):
            yield from _entries(value, where)
        else:
            yield Part(where, f"`{where}`", frozen(value), (where,))


def _surroundings(learner: Learner) -> Iterator[Part]:
    state = RandomState(learner.data.values())
    loaders = [value for _, value in state.own.values()]
    states = {"Python": state.python, "NumPy": state.numpy, "torch": state.torch, "the data's loaders": loaders}
    states |= {f"torch on {device}": value for device, value in state.devices.items()}
    for name, value in states.items():
        yield Part(RANDOM, f"the random generator of {name}", frozen([value]))
    for setting in SETTINGS_OF_PROCESS:
        yield Part(SETTINGS, setting.what, setting.get(), lent=True)
