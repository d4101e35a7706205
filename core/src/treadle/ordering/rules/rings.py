"""Rings: wrappers stand around all others at a hook, and what they read and write gives them no order."""

from __future__ import annotations

from treadle.callback import Callback, unwrap
from treadle.errors import Problem
from treadle.events import Hook
from treadle.ordering.conflicts import Overlap
from treadle.ordering.rules.resolutions import learner_line, order_fix, paths_of


def unordered_wrappers(first: Callback, second: Callback, overlap: list[Overlap], hook: type[Hook]) -> Problem:
    """The problem of two that wrap one hook and use the same state, with nothing that orders them."""
    return Problem(
        (first, second),
        f"{first.name} and {second.name} both wrap `{hook.hook}` and use {paths_of(overlap)}, and nothing orders them: "
        f"what wrappers do after their `yield` comes in reverse, so reads and writes do not.",
        order_fix(first, second),
    )


def read_too_early(wrapper: Callback, inside: Callback, reason: str, hook: type[Hook]) -> Problem:
    """The problem of a wrapper that reads what another writes inside of it."""
    cls = type(unwrap(inside)).__name__
    return Problem(
        (inside, wrapper),
        f"{reason}, inside of `{hook.hook}`, which {wrapper.name} wraps: a wrapper begins before all that is inside.",
        f"leave one of them out, or, if that is right, confirm it where the learner is made:\n"
        f"    {learner_line(wrapper, inside)}\n"
        f"Or, if you wrote {cls}, declare it there:\n"
        f"    run_after = ({type(unwrap(wrapper)).__name__},)",
    )


def put_before_wrapper(wrapper: Callback, inside: Callback, reason: str, hook: type[Hook]) -> Problem:
    """The problem of one that is to come before a wrapper inside of which it is."""
    return Problem(
        (inside, wrapper),
        f"{inside.name} cannot come before {wrapper.name}, which wraps `{hook.hook}` around it ({reason}).",
        f"leave one of them out.\n"
        f"Or, if you wrote {type(unwrap(inside)).__name__} or {type(unwrap(wrapper)).__name__}, take that order back, "
        f"or let {inside.name} wrap `{hook.hook}` as well:\n    @hookimpl(wrapper=True)",
    )
