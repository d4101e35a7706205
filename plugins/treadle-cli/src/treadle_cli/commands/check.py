"""`treadle check`: how every pair of installed callbacks combines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, TypeVar

import typer
from treadle import Callback, CallbackConflictError, callback_graph
from treadle.authoring import Pair, pair_of, writers_for

from treadle_cli.found import Found, callbacks, hook_modules, quiet
from treadle_cli.output import fail, print_json, print_table

T = TypeVar("T")

#: What is printed of each verdict.
HEADINGS = {"ordered": "One runs before the other:", "refused": "They say that they must not be used together:"}


def check(as_json: bool) -> None:
    """Judge every pair; the exit status is 1 if a plugin is broken or a pair is not resolved."""
    found = callbacks()
    made = [one for one in found if one.callback is not None]
    broken = [one.as_dict() for one in found if one.status == "broken"]
    broken += [module for module in hook_modules() if module["status"] == "broken"]
    problems = [alone for one in made if (alone := problem_of(one, made))]
    usable = [one for one in made if one.plugin.name not in {problem["name"] for problem in problems}]
    pairs = [judged(one, other, usable) for one, other in combinations(usable, 2)]
    left_out = [one for one in found if one.status != "broken" and one.callback is None]
    if not (made or broken):
        fail(
            "There is nothing to check: no callback is installed that can be made without arguments.\n"
            "Fix: install some, such as the standard ones:\n    pip install treadle"
        )
    if as_json:
        not_checked = [{"name": one.plugin.name, "reason": one.reason} for one in left_out]
        print_json({"pairs": pairs, "problems": problems, "broken": broken, "not_checked": not_checked})
    else:
        show(pairs, problems, broken, left_out, len(usable))
    if broken or problems or any(pair["verdict"] == "unresolved" for pair in pairs):
        raise typer.Exit(1)


def problem_of(one: Found, made: Sequence[Found]) -> dict[str, Any] | None:
    """Why a callback cannot be used even by itself, with those that write what it reads; None if it can."""
    try:
        beside_writers([callback_of(one)], made, callback_graph)
    except CallbackConflictError as error:
        return {"name": one.plugin.name, "what": error.problems[0].what, "fix": error.problems[0].fix}
    except Exception as error:  # of its `resolve_conflict`, or of what it declares
        return {"name": one.plugin.name, "what": f"{type(error).__name__}: {error}", "fix": ""}
    return None


def judged(one: Found, other: Found, made: Sequence[Found]) -> dict[str, Any]:
    """How two callbacks combine, by the names of their entry points."""
    first, second = callback_of(one), callback_of(other)
    names = {first: one.plugin.name, second: other.plugin.name}
    try:
        pair = beside_writers([first, second], made, lambda present: pair_of(first, second, present[2:]))
    except CallbackConflictError as error:  # with whatever one of them needs
        problem = error.problems[0]
        pair = Pair(first, second, "refused" if problem.refused else "unresolved", problem.what, fix=problem.fix)
    except Exception as error:  # of a `resolve_conflict`
        pair = Pair(first, second, "unresolved", f"{type(error).__name__}: {error}")
    return {
        "first": names[pair.first],
        "second": names[pair.second],
        "verdict": pair.verdict,
        "reason": pair.reason,
        "fix": pair.fix,
        "hooks": pair.hooks,
    }


def beside_writers(callbacks: list[Callback], made: Sequence[Found], ask: Callable[[list[Callback]], T]) -> T:
    """What a function returns for callbacks and those that write what they read, of which some may not fit here.

    Raises:
        CallbackConflictError: the first one, if there are no writers that fit.
    """
    candidates = [callback_of(one) for one in made]
    first: CallbackConflictError | None = None
    while True:
        writers = writers_for(callbacks, candidates)
        try:
            with quiet():
                return ask([*callbacks, *writers])
        except CallbackConflictError as error:
            first = first or error
            concerned = {callback for problem in error.problems for callback in problem.callbacks}
            if concerned.isdisjoint(writers):
                raise first from None
            candidates = [candidate for candidate in candidates if candidate not in concerned]


def callback_of(one: Found) -> Callback:
    """The callback of one that could be made."""
    assert one.callback is not None
    return one.callback


def show(
    pairs: Sequence[dict[str, Any]],
    problems: Sequence[dict[str, Any]],
    broken: Sequence[dict[str, Any]],
    left_out: Sequence[Found],
    n: int,
) -> None:
    """Print what is ordered, refused and not resolved, with the reasons, and how many are of each kind."""
    for verdict, heading in HEADINGS.items():
        rows = sorted((pair["first"], pair["second"], pair["reason"]) for pair in pairs if pair["verdict"] == verdict)
        if rows:
            print(heading)
            print_table(("first", "second", "why"), rows)
            print()
    for pair in pairs:
        if pair["verdict"] == "unresolved":
            print(f"unresolved: {pair['first']} and {pair['second']}: {with_fix(pair['reason'], pair['fix'])}\n")
    for problem in problems:
        print(f"not usable: {problem['name']}: {with_fix(problem['what'], problem['fix'])}\n")
    for plugin in broken:
        print(f"broken: {plugin['name']} ({plugin['distribution']} {plugin['version']}): {plugin['reason']}\n")
    for one in left_out:
        print(f"not checked: {one.plugin.name} ({one.plugin.distribution} {one.plugin.version}): {one.reason}\n")
    count = Counter(pair["verdict"] for pair in pairs)
    print(
        f"{n} callbacks, {len(pairs)} pairs: {count['ordered']} ordered, {count['compatible']} compatible, "
        f"{count['refused']} refused, {count['unresolved']} unresolved."
    )


def with_fix(what: str, fix: str) -> str:
    """What is wrong, and how to fix it, if that is known."""
    return f"{what}\nFix: {fix}" if fix else what
