"""The page of the checks, from their docstrings."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from treadle.testing import contract
from treadle_logging.testing import contract as backend_contract

NOTICE = "<!-- Written by docs/generate.py from the docstrings of the checks. Do not edit it by hand. -->"

#: The headings that the docstring of a check has below its first line.
HEADINGS = ("How", "Guarantee", "Message")


def page() -> Iterator[str]:
    """The page."""
    yield NOTICE
    yield "# The contract"
    yield ""
    yield "What every callback promises, check by check. `check_callback` runs all checks in one call,"
    yield "`CallbackContract` has them as tests to inherit;"
    yield "[testing callbacks](../guides/testing-callbacks.md) shows both."
    yield "A check counts what it looked at, and one that found nothing to look at fails. The report also names the"
    yield "kinds of learner that were tried, and says whether the callback"
    yield "[only watches](../guides/failing-observers.md)."
    yield "The guarantees have [a page of their own](../guarantees.md)."
    yield ""
    yield "Below each check stand the messages of its findings, with `...` for what differs from callback to callback;"
    yield "in a report each is followed by its fix."
    for name, check in contract.CHECKS.items():
        sections = sections_of(check)
        yield from ["", f"## {name}", "", f"{sections['title'][0]}.", ""]
        yield sections["How"][0]
        yield from ["", f"*Guarantee:* {sections['Guarantee'][0]}", ""]
        yield from (f"- “{message}”" for message in sections["Message"])
    yield from ["", "## Logger backends", ""]
    yield "What every backend of `treadle-logging` promises, by `treadle_logging.testing.check_backend`."
    yield from ["", "| check | what holds |", "|---|---|"]
    yield from (f"| `{name}` | {sections_of(check)['title'][0]} |" for name, check in backend_contract.CHECKS.items())


def sections_of(check: Callable[..., Any]) -> dict[str, list[str]]:
    """The parts of a check's docstring, by their headings; the first line is the title."""
    found: dict[str, list[str]] = {}
    heading = "title"
    for line in str(inspect.getdoc(check)).splitlines():
        match = re.match(rf"({'|'.join(HEADINGS)}): (.*)", line)
        if match:
            heading = match[1]
            found.setdefault(heading, []).append(match[2])
        elif heading == "title" and line:
            found[heading] = [line.removesuffix(".")]
        elif line:
            found[heading][-1] += f" {line.strip()}"
    return found
