"""Give all distributions another version: `python -m release.version 0.2.0`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

from release.distributions import ROOT, VERSION_FILE, VERSION_LINE, ReleaseError, folders, git, version

#: A requirement of one of our distributions, with its range.
RANGE = re.compile(r'(?<=")(treadle(?:-[a-z0-9-]+)?(?:\[[a-z,]+\])?)[<>=][^";]*(?=["; ])')


def compatible_range(number: str) -> str:
    """The versions that a distribution of one version works with: up to the next that may take something away.

    Example:
        >>> compatible_range("0.2.1"), compatible_range("0.3.0.dev0"), compatible_range("1.4.0")
        ('>=0.2,<0.3', '>=0.3.0.dev0,<0.4', '>=1.4,<2')
    """
    parsed = Version(number)
    first = number if parsed.is_prerelease else f"{parsed.major}.{parsed.minor}"
    return f">={first},<{f'0.{parsed.minor + 1}' if parsed.major == 0 else parsed.major + 1}"


def set_version(number: str, root: Path = ROOT) -> list[str]:
    """Write a version where it stands, and the ranges between the distributions.

    Returns:
        The lines of the documentation that show the old version: their examples are executed, and have to be edited.

    Raises:
        ReleaseError: if it is not a version, or not a later one.
    """
    before = version(root)
    try:
        if not Version(number) > Version(before):
            raise ReleaseError(f"{number} is not later than {before}.\nFix: pass a later version.")
    except InvalidVersion:
        raise ReleaseError(f"{number!r} is not a version.\nFix: write one as pip does:\n    0.2.0") from None
    file = root / VERSION_FILE.relative_to(ROOT)
    text = file.read_text(encoding="utf-8")
    file.write_text(VERSION_LINE.sub(f'__version__ = "{number}"', text), encoding="utf-8", newline="\n")
    for folder in folders(root):
        file = folder / "pyproject.toml"
        text = file.read_text(encoding="utf-8")
        file.write_text(RANGE.sub(rf"\1{compatible_range(number)}", text), encoding="utf-8", newline="\n")
    pages = git("ls-files", "*.md", root=root).split("\n")
    shown = re.compile(rf"\b{re.escape(before)}\b|{re.escape(compatible_range(before))}")
    return [
        f"{page}:{i}: {line.strip()}"
        for page in pages
        if page and page != "CHANGELOG.md"
        for i, line in enumerate((root / page).read_text(encoding="utf-8").splitlines(), 1)
        if shown.search(line)
    ]


if __name__ == "__main__":
    try:
        left = set_version(*sys.argv[1:2] or [""])
    except ReleaseError as error:
        sys.exit(str(error))
    print(f"All distributions are {version()} now.")
    print("\n".join(["These lines show the version before:", *left] if left else []))
