"""To which learner a callback belongs: it works for the one that it joined last, and starts there again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from treadle.callback import Callback
from treadle.errors import CallbackError
from treadle.state.run.callback_states import layers
from treadle.state.run.objects.preserved import remember
from treadle.state.run.objects.undos import Undo, undo_all


@dataclass(frozen=True)
class Membership:
    """To which learner a callback belongs, and in which state it joined its first one.

    Args:
        learner: The learner's identifier.
        state: What its `state_dict` returned, or what that raised.
    """

    learner: str
    state: dict[str, Any] | Exception


def join(callbacks: Iterable[Callback], learner: str) -> Callable[[], None]:
    """Let callbacks join a learner; one that joined another one before starts again from the state that it had then.

    Args:
        learner: The learner's identifier.

    Returns:
        A function that lets them belong where they did, in the state that they had.

    Raises:
        CallbackError: for a callback whose state is not known.
    """
    undos: list[Undo] = []
    try:
        for layer in [layer for callback in callbacks for layer in reversed(layers(callback))]:
            before: Membership | None = getattr(layer, "_membership", None)
            if before is None:
                undos.append(partial(delattr, layer, "_membership"))
                layer._membership = Membership(learner, initial_state(layer))
            elif before.learner != learner:
                undos.append(remember([layer]))
                start_again(layer, before.state)
                layer._membership = Membership(learner, before.state)
    except BaseException:
        undo_all(undos)
        raise
    return partial(undo_all, undos)


def initial_state(callback: Callback) -> dict[str, Any] | Exception:
    """A copy of a callback's state, or the exception that keeps it from being had: most are never needed."""
    try:
        return deepcopy(callback.state_dict())
    except Exception as error:
        return error


def start_again(callback: Callback, state: dict[str, Any] | Exception) -> None:
    """Give a callback the state back in which it joined its first learner."""
    if isinstance(state, Exception):
        raise CallbackError(
            f"{callback.name} joins a second learner, and its state_dict failed when it joined its first one, so it "
            f"cannot start again.\nFix: make a new one:\n    {type(callback).__name__}(...)"
        ) from state
    if state:
        callback.load_state_dict(deepcopy(state))


def refuse_absent(callbacks: Iterable[Callback], learner: str) -> None:
    """Refuse to work with callbacks that joined another learner since.

    Raises:
        CallbackError: naming the first of them.
    """
    for callback in callbacks:
        for layer in layers(callback):
            membership: Membership | None = getattr(layer, "_membership", None)
            if membership is not None and membership.learner != learner:
                raise CallbackError(
                    f"{layer.name} joined another learner after this one, and works for that one now.\n"
                    f"Fix: make one for each learner:\n    learner.replace_callback({type(layer).__name__}(...))"
                )
