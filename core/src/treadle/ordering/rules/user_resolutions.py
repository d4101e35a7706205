"""The user's own answer for pairs in conflict: `Learner(..., resolve=...)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from treadle.arguments import function
from treadle.callback import Callback, ConflictResolution, NoConflict, NotDefined, RunFirst, unwrap
from treadle.errors import ArgumentTypeError, ArgumentValueError, Problem, closest, did_you_mean
from treadle.ordering.rules.resolutions import Found, Resolver
from treadle.ordering.rules.run_after import Edge
from treadle.plugins.discovery import names_of

#: What a user gives: a function of two callbacks, or pairs of names with what to do.
Resolve: TypeAlias = Callable[[Callback, Callback], ConflictResolution | None] | Mapping[tuple[str, str], str] | None

#: Which of a pair of names runs first; or that any order is right.
ANSWERS = ("first", "second", "any")
OPPOSITE = {"first": "second", "second": "first", "any": "any"}

SOURCE = "the learner's `resolve`"
FIX = 'Fix: map pairs of names to "first", "second" or "any":\n    Learner(..., resolve={("Halve", "Double"): "first"})'


def checked_resolve(resolve: Any, callbacks: Sequence[Callback]) -> Resolve:
    """What a user gives as `resolve`, with the callbacks that the learner begins with.

    Raises:
        ArgumentTypeError: if it is neither a function nor a mapping of pairs of names.
        ArgumentValueError: for a name that none of the callbacks has, an answer that is none, or two that differ.
    """
    if resolve is None:
        return None
    if callable(resolve) and not isinstance(resolve, (Mapping, type)):
        return function(resolve, "resolve", "def resolve(first, second): ...", takes=["first", "second"])
    if not isinstance(resolve, Mapping):
        raise ArgumentTypeError(f"resolve is {resolve!r}, neither a function of two callbacks nor a mapping.\n{FIX}")
    for pair, answer in resolve.items():
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            raise ArgumentTypeError(f"resolve has {pair!r}, which is not a pair of names.\n{FIX}")
        if answer not in ANSWERS:
            guess = did_you_mean(answer, ANSWERS) if isinstance(answer, str) else ""
            raise ArgumentValueError(
                f"resolve has an invalid value for {pair}: {answer!r}. {guess}".rstrip() + f"\n{FIX}"
            )
        for name in pair:
            check_name(name, callbacks)
        if pair[0] == pair[1] and answer != "any":
            raise ambiguous(*pair)
        other = resolve.get(pair[::-1], OPPOSITE[answer])
        if other != OPPOSITE[answer]:
            raise ArgumentValueError(
                f"resolve has {answer!r} for {pair} and {other!r} for {pair[::-1]}, and they contradict each other.\n"
                f"Fix: leave one of them out."
            )
    return dict(resolve)


def check_name(name: str, callbacks: Sequence[Callback]) -> None:
    """Refuse a name that none of the callbacks has."""
    if not named(name, callbacks):
        known = {other for callback in callbacks for other in names_of(callback)}
        guess = closest(name, known)
        hint = f"Did you mean `{guess}`?" if guess else did_you_mean(name, {callback.name for callback in callbacks})
        raise ArgumentValueError(
            f"resolve names {name!r}, and the learner has no callback of that name. {hint}\n"
            f"Fix: correct the name, or take the pair out. A function may be about callbacks that come later."
        )


def named(name: str, callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that a name means: those that are called so, or else those of that class or entry point."""
    return [callback for callback in callbacks if callback.name == name] or [
        callback for callback in callbacks if name in names_of(callback)
    ]


def user_resolver(resolve: Resolve, callbacks: Sequence[Callback]) -> Resolver:
    """A function that asks the user's `resolve` about two of the callbacks."""
    if resolve is None:
        return lambda first, second: []
    if not isinstance(resolve, Mapping):
        return from_function(resolve)
    entries = [
        (
            pair,
            {id(callback) for callback in named(pair[0], callbacks)},
            {id(c) for c in named(pair[1], callbacks)},
            answer,
        )
        for pair, answer in resolve.items()
    ]

    def ask(first: Callback, second: Callback) -> list[tuple[str, ConflictResolution | None]]:
        found: list[tuple[str, ConflictResolution | None]] = []
        for pair, ones, others, answer in entries:
            forward = id(first) in ones and id(second) in others
            backward = id(second) in ones and id(first) in others
            if forward and backward and answer != "any":
                raise ambiguous(*pair)
            if forward or backward:
                one, other = (first, second) if forward else (second, first)
                chosen = {"first": RunFirst(one), "second": RunFirst(other), "any": NoConflict()}[answer]
                found.append((SOURCE, chosen))
        return found

    return ask


def turned_round(before: Callback, after: Callback, reason: str, found: Found) -> list[Edge] | Problem:
    """The problem of a pair of names that turns round what `run_after` orders; no edges if there is none."""
    if not any(source == SOURCE and resolution == RunFirst(after) for source, resolution in found):
        return []
    return Problem(
        (before, after),
        f"{SOURCE} lets {after.name} run before {before.name}, and {before.name} runs before {after.name} ({reason}).",
        "take the pair out of `resolve`, or leave one of the callbacks out.\n"
        "Or, if you wrote that run_after, take the name out of it.",
    )


def from_function(resolve: Callable[[Callback, Callback], ConflictResolution | None]) -> Resolver:
    """Asks the user's function, in the order of names, and the other way round if it has no opinion then."""

    def ask(first: Callback, second: Callback) -> list[tuple[str, ConflictResolution | None]]:
        resolution = resolve(unwrap(first), unwrap(second))
        if resolution is None or isinstance(resolution, NotDefined):
            resolution = resolve(unwrap(second), unwrap(first))
        return [(SOURCE, resolution)]

    return ask


def ambiguous(first: str, second: str) -> ArgumentValueError:
    """The error for two names that mean the same callbacks."""
    return ArgumentValueError(
        f"resolve has the pair {(first, second)}, in which both names mean the same callbacks.\n"
        f"Fix: give one of them a name of its own, and use that:\n"
        f'    another.name = "another"\n    Learner(..., resolve={{("{first}", "another"): "first"}})\n'
        f'Or, if any order is right:\n    Learner(..., resolve={{("{first}", "{second}"): "any"}})'
    )
