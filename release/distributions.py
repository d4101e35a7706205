"""The distributions of this repository: where they stand, and in which order they are built and uploaded."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core"

#: Where the version of all of them stands.
VERSION_FILE = CORE / "src" / "treadle" / "__init__.py"
VERSION_LINE = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


class ReleaseError(Exception):
    """Something that is not to be released, with how to fix it."""


def folders(root: Path = ROOT) -> list[Path]:
    """The core, the plugins and the distribution that brings them: nothing comes before what it needs most."""
    return [root / "core", *sorted(file.parent for file in root.glob("plugins/*/pyproject.toml")), root]


def project(folder: Path) -> dict[str, Any]:
    """The table `[project]` of a distribution."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def version(root: Path = ROOT) -> str:
    """The version that the distributions have now."""
    file = root / VERSION_FILE.relative_to(ROOT)
    found = VERSION_LINE.search(file.read_text(encoding="utf-8"))
    if found is None:
        raise ReleaseError(f'{file} has no version.\nFix: write a line:\n    __version__ = "0.1.0"')
    return found[1]


def git(*arguments: str, root: Path = ROOT) -> str:
    """What git prints."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode:
        raise ReleaseError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}\nFix: release from a clone.")
    return done.stdout.strip()


def last_tag(root: Path = ROOT) -> str | None:
    """The newest tag of a release before this commit; None before the first."""
    tags = git("tag", "--merged", "HEAD", "--sort=-v:refname", "--list", "v[0-9]*", root=root).split()
    return tags[0] if tags else None


def refuse_unreleasable(root: Path = ROOT) -> None:
    """Refuse to release what is in no commit, or a version that was released.

    Raises:
        ReleaseError: with what to do first.
    """
    if changed := git("status", "--porcelain", root=root):
        raise ReleaseError(f"There are changes that are in no commit:\n{changed}\nFix: commit them, or use --draft.")
    tag = f"v{version(root)}"
    if git("tag", "--list", tag, root=root) and git("rev-parse", f"{tag}^{{}}", root=root) != git(
        "rev-parse", "HEAD", root=root
    ):
        raise ReleaseError(f"{tag} is the tag of an earlier commit.\nFix: raise the version:\n    make version NEW=...")
