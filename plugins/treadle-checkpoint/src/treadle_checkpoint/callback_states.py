"""The callbacks' own states, each under a key that is the same in every run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from treadle import Callback
from treadle.callback import unwrap

from treadle_checkpoint.errors import MismatchError


def keys(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """The callbacks by their keys: the name, and for those that share one a number in the order given."""
    found: dict[str, Callback] = {}
    for callback in callbacks:
        key, count = callback.name, 1
        while key in found:
            count += 1
            key = f"{callback.name} #{count}"
        found[key] = callback
    return found


def kind(callback: Callback) -> str:
    """What a callback is, with what it is wrapped in: "Recorder", "ConditionalCallback of LogMetrics"."""
    names = [type(callback).__qualname__]
    while callback.wrapped is not None:
        callback = callback.wrapped
        names.append(type(callback).__qualname__)
    return " of ".join(names)


def is_stateless(callback: Callback) -> bool:
    """Whether a callback says, by not overriding `state_dict`, that it has no state of its own."""
    return type(unwrap(callback)).state_dict is Callback.state_dict


def gather(callbacks: Sequence[Callback]) -> dict[str, Any]:
    """The states of callbacks, by key; of those that have any."""
    found = {}
    for key, callback in sorted(keys(callbacks).items()):
        if state := callback.state_dict():
            found[key] = {"class": kind(callback), "optional": callback.optional_state, "state": state}
    return found


def check(callbacks: Sequence[Callback], saved: Mapping[str, Any], without: Collection[str]) -> None:
    """Refuse callbacks that are not those whose states were saved.

    Args:
        callbacks: The callbacks.
        saved: What `gather` gave.
        without: Keys that do not matter.

    Raises:
        MismatchError: naming each that is missing, that is new, or that is of another class.
    """
    own = keys(callbacks)
    problems = []
    for key, said in saved.items():
        if key in without or said["optional"]:
            continue
        if key not in own:
            problems.append((key, f"it has the state of {key}, which the learner has not"))
        elif kind(own[key]) != said["class"]:
            problems.append((key, f"{key} was a {said['class']} and is a {kind(own[key])}"))
    for key, callback in own.items():
        if key in saved or key in without or is_stateless(callback) or callback.optional_state:
            continue
        if callback.state_dict():
            problems.append((key, f"it has no state of {key}, which the learner has"))
    if problems:
        names = ", ".join(repr(key) for key, _ in problems)
        raise MismatchError(
            f"The checkpoint does not fit the learner's callbacks: {'; '.join(said for _, said in problems)}. "
            f"Resume with the callbacks that the saved run had, or go on without these states: "
            f"resume(learner, path, without=[{names}])"
        )


def put(callbacks: Sequence[Callback], saved: Mapping[str, Any], without: Collection[str]) -> None:
    """Give callbacks back their states; `check` found nothing."""
    own = keys(callbacks)
    for key, said in saved.items():
        if key not in without and key in own and kind(own[key]) == said["class"]:
            try:
                own[key].load_state_dict(said["state"])
            except Exception as error:
                error.add_note(f"Raised while {key} took over its state from a checkpoint.")
                raise
