"""Version ranges, as a distribution writes them into its requirements: `>=0.1,<0.2`.

The core does not depend on `packaging`, whose answers these are; a test compares the two.
"""

from __future__ import annotations

import functools
import re
from typing import Any

#: A version, as PEP 440 spells it. What stands behind a `+` says nothing about what a version can do.
VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<kind>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre>\d*))?"
    r"(?P<post>-(?P<implicit>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<explicit>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<number>\d*))?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*(\S+?)(\.\*)?")

#: Behind every pre-release of its kind, and before all of them.
LAST, FIRST = (2, 0, 0), (-1, 0, 0)


@functools.lru_cache(maxsize=256)
def allows(version_range: str, version: str) -> bool | None:
    """Whether a range allows a version, a pre-release too; None if one of the two cannot be read.

    Example:
        >>> allows(">=0.1,<0.2", "0.1.4"), allows(">=0.1,<0.2", "0.2.0"), allows("about 1", "1.0")
        (True, False, None)
    """
    verdict = True
    for clause in filter(None, (part.strip() for part in version_range.split(","))):
        found = CLAUSE.fullmatch(clause)
        allowed = fits(found[1], found[2], bool(found[3]), version) if found else None
        if allowed is None:
            return None
        verdict = verdict and allowed
    return verdict


def fits(operator: str, bound: str, prefix: bool, version: str) -> bool | None:
    """Whether a version fits one clause of a range; None if that has no meaning."""
    wanted, present = parsed(bound), parsed(version)
    if wanted is None or present is None or (prefix and operator not in ("==", "!=")):
        return None
    if operator == "~=":
        if len(wanted.release) < 2:
            return None
        series = wanted.release[:-1]
        return present.key >= wanted.key and present.epoch == wanted.epoch and present.starts_with(series)
    if operator in ("==", "!="):
        if prefix:
            equal = present.epoch == wanted.epoch and present.starts_with(wanted.release)
        else:
            equal = present.key == wanted.key
        return equal == (operator == "==")
    if operator == "<=":
        return present.key <= wanted.key
    if operator == ">=":
        return present.key >= wanted.key
    if operator == "<":  # 2.0rc1 is not below 2.0, for a range
        earliest = None if wanted.early else parsed(f"{bound}.dev0")
        return present.key < (earliest or wanted).key
    same_release = present.key[:2] == wanted.key[:2]
    post = present.late and same_release and present.stage == wanted.stage  # 2.0.post1 is not above 2.0
    return present.key > wanted.key and not (post and not wanted.late and not wanted.in_development)


class Version:
    """A version and what it is compared by."""

    def __init__(self, found: re.Match[str]) -> None:
        part = found.groupdict()
        self.epoch = int(part["epoch"] or 0)
        self.release = tuple(int(number) for number in part["release"].split("."))
        self.in_development = part["dev"] is not None
        self.early = part["kind"] is not None or self.in_development
        self.late = part["post"] is not None
        if part["kind"] is not None:
            kind = {"a": 0, "b": 1}.get(part["kind"][0].lower(), 2)
            self.stage = (0, kind, int(part["pre"] or 0))
        else:
            self.stage = LAST
        stage = FIRST if self.stage == LAST and self.in_development and not self.late else self.stage
        post = int(part["implicit"] or part["explicit"] or 0) if self.late else -1
        dev = (0, int(part["number"] or 0)) if self.in_development else (1, 0)
        shortened = list(self.release)
        while shortened and shortened[-1] == 0:
            shortened.pop()
        self.key: tuple[Any, ...] = (self.epoch, tuple(shortened), stage, post, dev)

    def starts_with(self, series: tuple[int, ...]) -> bool:
        """Whether the release begins with these numbers."""
        padded = self.release + (0,) * (len(series) - len(self.release))
        return padded[: len(series)] == series


def parsed(version: str) -> Version | None:
    """A version, as far as it is one."""
    found = VERSION.fullmatch(version.strip())
    return Version(found) if found else None
