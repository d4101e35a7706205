"""The draft of a release's changes: what was written by hand, and every commit since the last release."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from release.distributions import ROOT, folders, git, last_tag, project, version


def changelog(root: Path = ROOT) -> str:
    """The changes since the last release, as a page: by hand, and the commits by the distribution that they change."""
    tag = last_tag(root)
    lines = [f"# Treadle {version(root)}", "", by_hand(root), "", f"## Commits since {tag or 'the beginning'}", ""]
    grouped: dict[str, list[str]] = defaultdict(list)
    for commit, subject, files in commits(tag, root):
        grouped[origin(files, root)].append(f"- {subject} ({commit[:8]})")
    for name in sorted(grouped, key=lambda name: (name in LAST, name)):
        lines += [f"### {name}", "", *grouped[name], ""]
    return "\n".join(lines)


def by_hand(root: Path = ROOT) -> str:
    """The newest section of CHANGELOG.md, without its heading."""
    _, *sections = re.split(r"^## .*\n", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return sections[0].strip() if sections else ""


def commits(since: str | None, root: Path = ROOT) -> list[tuple[str, str, list[str]]]:
    """The commits since a tag, newest first: name, subject, and the files that they change."""
    commits = [f"{since}..HEAD"] if since else ["HEAD"]
    listed = git("log", "--no-merges", "--name-only", "--format=%x1e%H%x1f%s", *commits, root=root)
    found = []
    for entry in filter(None, listed.split("\x1e")):
        head, *files = entry.strip().split("\n")
        commit, _, subject = head.partition("\x1f")
        found.append((commit, subject, [file for file in files if file]))
    return found


#: Where commits go that change none of the distributions, or several.
SEVERAL, NONE = "Several distributions", "Documentation, tests and tools"
LAST = (SEVERAL, NONE)


def origin(files: list[str], root: Path = ROOT) -> str:
    """The distribution whose sources a commit changes."""
    sources = {f"{folder.relative_to(root).as_posix()}/src/": project(folder)["name"] for folder in folders(root)}
    changed = {name for file in files for prefix, name in sources.items() if file.startswith(prefix)}
    return changed.pop() if len(changed) == 1 else SEVERAL if changed else NONE
