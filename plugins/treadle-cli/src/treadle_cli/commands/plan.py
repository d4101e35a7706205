"""`treadle plan`: in which order callbacks run and why; or the conflicts, and how to fix them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from treadle import Callback, CallbackConflictError, TreadleError
from treadle.authoring import handlers, preview

from treadle_cli.named import named
from treadle_cli.output import fail, print_json
from treadle_cli.script import learner_of

#: What is a script, and not the name of a callback with arguments.
SCRIPT = re.compile(r".*\.py(:[^:]*)?")


def plan(names: Sequence[str], default_callbacks: bool | None, formats: Mapping[str, bool]) -> None:
    """Print the plan in the format that was asked for; the exit status is 1 if there is none."""
    chosen = [option for option, wanted in formats.items() if wanted]
    if len(chosen) > 1:
        fail(f"{' and '.join(chosen)} cannot be printed at once.\nFix: choose one of them.")
    try:
        found = planned(names, default_callbacks)
    except CallbackConflictError as error:
        if formats["--json"]:
            print_json({"problems": [problem(entry) for entry in error.problems]})
            raise typer.Exit(1) from None
        fail(str(error), 1)
    except TreadleError as error:
        fail(str(error))
    if formats["--json"]:
        print_json(as_dict(found))
    elif formats["--mermaid"]:
        print(found.mermaid())
    elif formats["--svg"]:
        print(found.svg())
    else:
        print(found)


def planned(names: Sequence[str], default_callbacks: bool | None) -> Any:
    """The plan of callbacks, which the default callbacks join unless they are not to; or of the learner of a script."""
    scripts = [name for name in names if SCRIPT.fullmatch(name)]
    if not scripts:
        return preview([named(name) for name in names], use_default_callbacks=default_callbacks is not False)
    if len(names) > 1:
        fail(
            f"A script's learner has its own callbacks, and {scripts[0]!r} is not alone.\n"
            f"Fix: name the script only:\n    treadle plan {scripts[0]}"
        )
    if default_callbacks is not None:
        fail(
            f"A script's learner has the default callbacks that it was made with.\n"
            f"Fix: leave out {'--defaults' if default_callbacks else '--no-defaults'}, or decide it in the script:\n"
            f"    Learner(..., use_default_callbacks={default_callbacks})"
        )
    return learner_of(scripts[0]).plan()


def as_dict(found: Any) -> dict[str, Any]:
    """A plan, for a program: what runs at each event and operation of each phase, and why in that order."""
    return {
        "digest": found.digest,
        "callbacks": [callback.name for callback in found.callbacks],
        "rows": [
            {
                "phase": phase,
                "hook": hook,
                "around": [callback.name for callback in ordered if wraps(callback, hook)],
                "callbacks": [callback.name for callback in ordered if not wraps(callback, hook)],
            }
            for phase, hook, ordered in found.rows
        ],
        "edges": [
            {"before": before.name, "after": after.name, "reason": reason, "hooks": list(hooks)}
            for before, after, reason, hooks in found.edges
        ],
    }


def wraps(callback: Callback, hook: str) -> bool:
    """Whether a callback wraps an operation, so that it stands around those that do not."""
    return handlers(callback)[hook].wrapper


def problem(entry: Any) -> dict[str, Any]:
    """A conflict, for a program."""
    return {
        "callbacks": [callback.name for callback in entry.callbacks],
        "what": entry.what,
        "fix": entry.fix,
        "origin": entry.origin,
        "refused": entry.refused,
    }
