"""The callbacks' own states, each under a key that is the same in every run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from treadle.errors import CallbackError, MismatchError
from treadle.state.propdict import by_unique_name
from treadle.system import is_main_process

if TYPE_CHECKING:
    from treadle.callback import Callback


def layers(callback: Callback) -> list[Callback]:
    """A callback and what it wraps, as `throttle` does."""
    found = [callback]
    while found[-1].wrapped is not None:
        found.append(found[-1].wrapped)
    return found


def innermost(callback: Callback) -> Callback:
    """The callback inside of all wrappers."""
    return layers(callback)[-1]


def kind(callback: Callback) -> str:
    """What a callback is, with what it wraps: "Recorder", "ConditionalCallback of LogMetrics"."""
    return " of ".join(type(layer).__qualname__ for layer in layers(callback))


def capture(callbacks: Iterable[Callback]) -> dict[str, Any]:
    """The states of callbacks, by key; of those that have any."""
    return {
        key: {"class": kind(callback), "optional": callback.optional_state, "state": state}
        for key, callback in sorted(by_unique_name(callbacks).items())
        if takes_part(callback) and (state := state_of(callback))
    }


def takes_part(callback: Callback) -> bool:
    """Whether a callback is called in this process, so that it has a state here."""
    return not callback.main_process_only or is_main_process()


def absent(callbacks: Iterable[Callback]) -> set[str]:
    """The keys of the callbacks that are called in another process only, to which their states belong."""
    return {key for key, callback in by_unique_name(callbacks).items() if not takes_part(callback)}


def state_of(callback: Callback) -> dict[str, Any]:
    """What the `state_dict` of a callback returns.

    Raises:
        CallbackError: if it is not a dict.
    """
    state: Any = callback.state_dict()
    if not isinstance(state, dict):
        raise CallbackError(
            f"{type(callback).__name__}.state_dict returned {state!r}, not a dict.\n"
            f'Fix: return the state by names:\n    return {{"count": self.count}}'
        )
    return state


def check(callbacks: Iterable[Callback], saved: Mapping[str, Any], without: Collection[str]) -> None:
    """Refuse callbacks that are not those whose states were saved.

    Args:
        saved: What `capture` returned.
        without: Keys of callbacks that may differ.

    Raises:
        MismatchError: naming all that are missing, that are new, or that are of another class.
    """
    current, without = by_unique_name(callbacks), {*without, *absent(callbacks)}
    problems = {}
    for key, entry in saved.items():
        if key in without or entry["optional"]:
            continue
        if key not in current:
            problems[key] = f"it has the state of {key}, which the learner does not have"
        elif kind(current[key]) != entry["class"]:
            problems[key] = f"{key} was a {entry['class']} and is a {kind(current[key])}"
    for key, callback in current.items():
        if key in saved or key in without or callback.optional_state:
            continue
        if innermost(callback).state_dict():
            problems[key] = f"it has no state of {key}, which the learner has"
    if problems:
        raise MismatchError(
            f"The checkpoint does not fit the learner's callbacks: {'; '.join(problems.values())}.\n"
            f"Fix: use the callbacks that the saved run had, or go on without these states:\n"
            f"    without={list(problems)!r}"
        )


def put_back(callbacks: Iterable[Callback], saved: Mapping[str, Any], without: Collection[str]) -> None:
    """Give callbacks that passed `check` back their states."""
    current, without = by_unique_name(callbacks), {*without, *absent(callbacks)}
    for key, entry in saved.items():
        if key not in without and key in current and kind(current[key]) == entry["class"]:
            try:
                current[key].load_state_dict(entry["state"])
            except Exception as error:
                error.add_note(f"Raised while {key} took over its state from a checkpoint.")
                raise


def optional(callbacks: Iterable[Callback], saved: Mapping[str, Any], without: Collection[str]) -> set[str]:
    """The keys of callbacks that may be missing, among those that were saved or among those that there are."""
    current = by_unique_name(callbacks)
    may_differ = {key for key in current if current[key].optional_state}
    return (current.keys() ^ saved.keys()) | may_differ | absent(callbacks) | {*without}
