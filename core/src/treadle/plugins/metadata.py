"""What installed distributions say of themselves: read once for each folder of `sys.path`, and where one changed."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from email.parser import HeaderParser
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import importlib_metadata

CALLBACKS = "treadle.callbacks"
PLUGINS = "treadle.plugins"

CORE = "treadle-core"

#: A requirement that holds wherever it is installed: without an extra, a marker or an address. `treadle` brings the
#: core of its own version, so whoever requires that one says the same.
REQUIREMENT = re.compile(r"treadle(?:[-_.]+core)?\s*(?:\[[^]]*\]\s*)?\(?((?:[<>=!~][^;@()]*)?)\)?\s*", re.IGNORECASE)

#: Seconds in which a folder may change twice and look as it did: the file systems' clocks are that coarse.
COARSE = 2.0


class Metadata(NamedTuple):
    """What is of interest here in the metadata of a distribution.

    Args:
        core: The versions of treadle-core that it requires, such as `>=0.1,<0.2`; empty if it does not say.
    """

    name: str
    version: str
    core: str
    entry_points: tuple[importlib_metadata.EntryPoint, ...]


class Listing(NamedTuple):
    """The metadata in one folder of `sys.path`.

    Args:
        looked: What the system said of the folder before it was read.
        read: When that was.
        infos: For each folder with metadata what the system said of it, the distribution, and what is of interest.
    """

    looked: Look
    read: float
    infos: dict[str, tuple[Look, str, Metadata | None]]

    def is_current(self, looked: Look, now: float) -> bool:
        """Whether nothing has changed since. A folder that had just changed is read once more a little later."""
        return looked == self.looked and (self.is_settled(looked) or now - self.read < COARSE)

    def is_settled(self, looked: Look) -> bool:
        """Whether what looked like this when it was read cannot have changed afterwards and look the same."""
        return self.read - looked[1] / 1e9 > COARSE


#: Which folder it is, when it changed, how many folders are in it (on many file systems), and its size.
Look = tuple[int, int, int, int]

_listings: dict[str, Listing] = {}
_combined: tuple[tuple[Listing, ...], tuple[Metadata, ...]] = ((), ())


def distributions() -> tuple[Metadata, ...]:
    """The core, and every distribution with callbacks or hook modules; the same object until something changes."""
    global _combined
    now = time.time()
    present = []
    for path in dict.fromkeys(sys.path):
        if (looked := look(path or ".")) is not None:
            listing = _listings.get(path)
            if listing is None or not listing.is_current(looked, now):
                listing = _listings[path] = read_folder(path or ".", looked, now, listing)
            present.append(listing)
    if len(present) != len(_combined[0]) or any(a is not b for a, b in zip(present, _combined[0], strict=True)):
        _combined = tuple(present), tuple(combined(present))
    return _combined[1]


def core_version() -> str:
    """The version of treadle-core that is installed; `unknown` if its metadata are not to be found."""
    return next((found.version for found in distributions() if normal(found.name) == CORE), "unknown")


def combined(listings: list[Listing]) -> Iterator[Metadata]:
    """Each distribution once: of several with one name the one that Python imports, which is the first."""
    seen: set[str] = set()
    for listing in listings:
        infos = listing.infos.values()
        yield from (metadata for _, name, metadata in infos if metadata is not None and name not in seen)
        seen |= {name for _, name, _ in infos}


def read_folder(folder: str, looked: Look, now: float, before: Listing | None) -> Listing:
    """List a folder, and read the metadata of the distributions in it that are new or changed."""
    infos: dict[str, tuple[Look, str, Metadata | None]] = {}
    try:
        entries = sorted(entry for entry in os.listdir(folder) if entry.endswith((".dist-info", ".egg-info")))
    except OSError:  # such as an archive, from which no plugin is installed
        entries = []
    for entry in entries:
        info = os.path.join(folder, entry)
        if (seen := look(info)) is not None:
            known = before.infos.get(entry) if before is not None and before.is_settled(seen) else None
            if known is None or known[0] != seen:
                name = normal(entry.rpartition(".")[0].partition("-")[0])
                known = seen, name, read(info, name)
            infos[entry] = known
    return Listing(looked, now, infos)


def read(info: str, name: str) -> Metadata | None:
    """What a folder with the metadata of a distribution says; None if that is of no interest here."""
    points = text_of(info, "entry_points.txt")
    if f"[{CALLBACKS}]" not in points and f"[{PLUGINS}]" not in points and name != CORE:
        return None
    import importlib_metadata  # not needed by who imports treadle alone

    headers = HeaderParser().parsestr(text_of(info, "METADATA") or text_of(info, "PKG-INFO"))
    name, version = headers.get("Name", name), headers.get("Version", "unknown")
    try:
        entries = importlib_metadata.Distribution.at(info).entry_points
        ours = tuple(entry for group in (CALLBACKS, PLUGINS) for entry in entries.select(group=group))
    except Exception as error:  # whatever a file that is not what it should be leads to
        from loguru import logger  # needed rarely, and loaded then

        logger.warning(
            f"The plugins of {name} {version} cannot be listed: {type(error).__name__}: {error}\n"
            f"Fix: repair or uninstall {name}; what cannot be read is {os.path.join(info, 'entry_points.txt')}."
        )
        ours = ()
    return Metadata(name, version, core_range(headers.get_all("Requires-Dist", [])), ours)


def core_range(requirements: list[str]) -> str:
    """The versions of the core that requirements allow: `>=0.1,<0.2` for `["treadle-core<0.2,>=0.1", "torch"]`."""
    found = filter(None, map(REQUIREMENT.fullmatch, requirements))
    clauses = {part.strip() for requirement in found for part in requirement[1].split(",")} - {""}
    return ",".join(sorted(clauses, reverse=True))


def normal(name: str) -> str:
    """A name as indexes compare it: `Treadle_Metrics` is `treadle-metrics`."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def text_of(info: str, name: str) -> str:
    """The text of a file of metadata; empty if there is none that can be read."""
    try:
        with open(os.path.join(info, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def look(path: str) -> Look | None:
    """What the system says of a file or folder; None if it is not there."""
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    return seen.st_ino, seen.st_mtime_ns, seen.st_nlink, seen.st_size
