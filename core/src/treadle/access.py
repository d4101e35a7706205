"""What a callback may do with the learner's state: paths, `Read` and `Write`, overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from treadle.errors import AccessError, did_you_mean

if TYPE_CHECKING:
    from treadle.callback import Callback


#: The fields of a learner, with which every path starts.
FIELDS = ("model", "optimizer", "lossfn", "data", "params", "step", "callbacks", "cbstate", "loop")

#: The other names of a model's weights, which carry their gradients. An optimizer holds the weights too, but its
#: path means its own state: settings, moments, counts.
WEIGHTS = ("params", "step.grads")


class Permission:
    """What may be done at a path: `Read` or `Write`. The classes themselves are the values."""


class Read(Permission):
    """The callback looks at the state at this path.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> show = CustomCallback(lambda learner: print(len(learner.step.xs), "rows"), StepEnd, TrainingPhase,
        ...                       {"step.xs": Read})
        >>> result = toy_learner(show, nbatches=2).fit(1)
        8 rows
        8 rows
    """


class Write(Read):
    """The callback changes, makes or replaces the state at this path. Includes `Read`.

    Example:
        >>> from treadle import Callback, toy_learner
        >>> class Doubler(Callback):
        ...     "Double the inputs before the model sees them."
        ...     state_access = {"step.xs": Write}
        ...     def on_step_begin(self, learner):
        ...         learner.step.xs = 2 * learner.step.xs
        >>> learner = toy_learner(Doubler())
        >>> result = learner.fit(5)
        >>> 1.4 < learner.model.weight.item() < 1.6
        True
    """


def parts(path: str) -> tuple[str, ...]:
    """The parts of a dotted path."""
    return tuple(path.split("."))


def state_of(path: str) -> str:
    """The one name of the state at a path: `model` and what is below it for all that has several names.

    Example:
        >>> state_of("params.layer.weight"), state_of("step.grads"), state_of("step.loss")
        ('model.layer.weight', 'model', 'step.loss')
    """
    for name in WEIGHTS:
        if path == name or path.startswith(f"{name}."):
            return f"model{path[len(name) :]}"
    return path


def states_around(path: str) -> list[str]:
    """The names of the states that hold the one at a path, itself included.

    Example:
        >>> states_around("cbstate.history"), states_around("params.weight")
        (['cbstate', 'cbstate.history'], ['step', 'model', 'model.weight'])
    """
    names = parts(state_of(path))
    held = [".".join(names[:length]) for length in range(1, len(names) + 1)]
    return ["step", *held] if names[0] == "model" else held  # `step` holds `step.grads`


def overlaps(first: str, second: str) -> bool:
    """Whether two paths lead to the same state: one to, or through, the other, by whatever name.

    `model`, `params` and `step.grads` are one state, since a parameter carries its gradient; with several models
    those of each of them are. `step` holds `step.grads`.

    Example:
        >>> overlaps("step", "step.loss"), overlaps("step.loss", "step.losses")
        (True, False)
        >>> overlaps("model", "step.grads"), overlaps("model.critic", "params.actor")
        (True, False)
    """
    try:
        return state_of(first) in states_around(second) or state_of(second) in states_around(first)
    except AttributeError:
        raise AccessError(
            f"A path is a text, got {first!r} and {second!r}.\n"
            f'Fix: write dotted names:\n    overlaps("step", "step.loss")'
        ) from None


def nested(first: str, second: str) -> bool:
    """Whether one path leads to, or through, the other by name: a permission for one then covers a use of the other.

    Example:
        >>> nested("step", "step.loss"), nested("step.grads", "params")
        (True, False)
    """
    return first == second or first.startswith(f"{second}.") or second.startswith(f"{first}.")


def checked(state_access: object, owner: str) -> dict[str, type[Permission]]:
    """The `state_access` that the callback called `owner` declares, checked.

    Raises:
        AccessError: if it is not a mapping of paths of a learner to `Read` or `Write`.
    """
    if not isinstance(state_access, Mapping):
        raise AccessError(
            f"{owner}.state_access is {state_access!r}, not a mapping.\n"
            f'Fix: map dotted paths to `Read` or `Write`:\n    state_access = {{"step.loss": Read}}'
        )
    for path, permission in state_access.items():
        if not isinstance(path, str) or not all(parts(path)):
            raise AccessError(
                f"{owner}.state_access has {path!r}, which is not a path.\n"
                f'Fix: write dotted names:\n    state_access = {{"step.loss": Read}}'
            )
        root = parts(path)[0]
        if root not in FIELDS:
            raise AccessError(
                f"{owner}.state_access has the path {path!r}, and a learner has no `{root}`. "
                f"{did_you_mean(root, FIELDS)}\nFix: let the path start with one of: {', '.join(FIELDS)}."
            )
        if permission is not Read and permission is not Write:
            raise AccessError(
                f"{owner}.state_access has an invalid permission for {path!r}: {permission!r}.\n"
                f'Fix: use `Read` or `Write`:\n    state_access = {{"{path}": Read}}'
            )
        if root == "loop" and (path, permission) != ("loop", Write):
            raise AccessError(
                f"{owner}.state_access has {path!r}: {permission.__name__}, and the loop is entered as a whole."
                f'\nFix: declare it, or leave it out:\n    state_access = {{"loop": Write}}'
            )
    return dict(state_access)


def accesses(callback: Callback, permission: type[Permission]) -> set[str]:
    """The dotted paths that a callback declares with just this permission, `Read` or `Write`.

    Raises:
        AccessError: for another permission, or an invalid declaration.

    Example:
        >>> from treadle import Callback
        >>> class Keeper(Callback):
        ...     state_access = {"step.loss": Read, "cbstate.kept": Write}
        >>> accesses(Keeper(), Write)
        {'cbstate.kept'}
    """
    if permission is not Read and permission is not Write:
        raise AccessError(
            f"{permission!r} is not a permission.\nFix: pass `Read` or `Write`:\n    accesses(callback, Read)"
        )
    if not hasattr(callback, "state_access"):
        raise AccessError(
            f"{callback!r} is not a Callback, and declares no access.\nFix: pass one:\n    accesses(Recorder(), Read)"
        )
    declared = checked(callback.state_access, callback.name)
    return {path for path, declared_permission in declared.items() if declared_permission is permission}
