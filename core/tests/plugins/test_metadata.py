"""The metadata of installed distributions are read once, and again where something changed: counted, not timed."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import importlib_metadata  # noqa: F401  (before the path is cut down to what is counted)
import pytest
import treadle.plugins.metadata
from loguru import logger
from treadle import plugins
from treadle.plugins.metadata import CALLBACKS, COARSE, Listing, distributions, look

#: What is opened while a test counts; a hook of the interpreter cannot be taken back.
opened: list[str] = []
counting = False


def count(event: str, arguments: tuple) -> None:
    if counting and event in ("open", "os.listdir"):
        opened.append(str(arguments[0]))


sys.addaudithook(count)


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder with 300 distributions, three of which have callbacks, alone with the standard library on the path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    for i in range(300):
        put(folder, f"library-{i}", "[console_scripts]\nrun = library:run\n" if i % 3 else None)
    for i in range(3):
        put(folder, f"plugin-{i}", f"[{CALLBACKS}]\ncallback_{i} = plugin_{i}:Callback{i}\n")
    monkeypatch.setattr(treadle.plugins.metadata, "_listings", {})
    monkeypatch.setattr(sys, "path", [str(folder)])
    age(folder)
    return folder


def put(folder: Path, name: str, entry_points: str | None = None, version: str = "1.0") -> Path:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points is not None:
        (info / "entry_points.txt").write_text(entry_points)
    return info


def age(folder: Path) -> None:
    """Let a folder, and those in it, look as if they had been changed a minute before they were."""
    for path in (*folder.iterdir(), folder):
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 60 * 10**9))


@pytest.fixture
def reads(site) -> Iterator[Counter[str]]:
    """How often each file of the folder was opened, and the folder listed, since the last time that it was asked."""
    global counting

    class Reads(Counter[str]):
        def since(self) -> Counter[str]:
            found = Counter(Path(path).name for path in opened if path.startswith(str(site)))
            opened.clear()
            return found

    opened.clear()
    counting = True
    yield Reads()
    counting = False


def names() -> list[str]:
    return [plugin.name for plugin in plugins.installed(CALLBACKS)]


def test_the_first_time_every_distribution_is_looked_at_once_and_only_plugins_are_read_whole(site, reads) -> None:
    assert names() == ["callback_0", "callback_1", "callback_2"]
    first = reads.since()
    assert first["site-packages"] == 1
    assert first["METADATA"] == 3
    assert first["entry_points.txt"] == 303 + 3


def test_afterwards_nothing_is_read(site, reads) -> None:
    names()
    reads.since()
    for _ in range(10):
        names()
        plugins.find("callback_1")
        distributions()
    assert reads.since() == {}
    assert distributions() is distributions()


def test_of_a_distribution_that_is_installed_later_alone_the_metadata_are_read(site, reads) -> None:
    names()
    put(site, "plugin-late", f"[{CALLBACKS}]\nlate = plugin_late:Late\n")
    reads.since()
    assert names() == ["callback_0", "callback_1", "callback_2", "late"]
    assert reads.since() == {"site-packages": 1, "entry_points.txt": 2, "METADATA": 1}


def test_one_that_is_uninstalled_is_gone_and_nothing_else_is_read(site, reads) -> None:
    names()
    shutil.rmtree(site / "plugin_1-1.0.dist-info")
    reads.since()
    assert names() == ["callback_0", "callback_2"]
    assert reads.since() == {"site-packages": 1}


def test_another_version_takes_the_place_of_one(site) -> None:
    names()
    shutil.rmtree(site / "plugin_1-1.0.dist-info")
    put(site, "plugin-1", f"[{CALLBACKS}]\nrenamed = plugin_1:Callback1\n", version="2.0")
    assert names() == ["callback_0", "callback_2", "renamed"]
    assert plugins.find("renamed").version == "2.0"


def test_the_same_version_installed_anew_is_read_anew(site) -> None:
    names()
    shutil.rmtree(site / "plugin_1-1.0.dist-info")
    put(site, "plugin-1", f"[{CALLBACKS}]\nrenamed = plugin_1:Callback1\n")
    assert names() == ["callback_0", "callback_2", "renamed"]


def test_a_folder_that_comes_onto_the_path_is_read_and_the_others_are_not(site, reads, tmp_path) -> None:
    names()
    reads.since()
    more = tmp_path / "more"
    more.mkdir()
    put(more, "plugin-more", f"[{CALLBACKS}]\nmore = plugin_more:More\n")
    sys.path.append(str(more))
    assert "more" in names()
    sys.path.remove(str(more))
    assert "more" not in names()
    assert reads.since() == {}


def test_of_two_with_one_name_the_first_on_the_path_counts(site, tmp_path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    put(more, "Plugin.1", f"[{CALLBACKS}]\nolder = plugin_1:Older\n", version="0.5")
    sys.path.append(str(more))
    assert names() == ["callback_0", "callback_1", "callback_2"]
    sys.path.reverse()
    assert names() == ["callback_0", "callback_2", "older"]


def test_what_had_just_changed_is_looked_at_once_more_when_the_clock_has_moved_on(site) -> None:
    looked = look(site)
    changed = looked[1] / 1e9
    soon, later, much_later = changed + 0.5, changed + 0.5 + COARSE, changed + 100
    fresh = Listing(looked, soon, {})
    assert fresh.is_current(looked, soon)
    assert not fresh.is_current(looked, later)
    assert Listing(looked, later, {}).is_current(looked, much_later)


def test_metadata_that_cannot_be_read_break_nothing(site, tmp_path) -> None:
    put(site, "broken-lines", f"[{CALLBACKS}]\nthis line has no value\n")
    (put(site, "broken-letters") / "entry_points.txt").write_bytes(b"\xff\xfe\x00")
    (put(site, "broken-name", f"[{CALLBACKS}]\nnameless = nameless:Nameless\n") / "METADATA").unlink()
    (site / "archive.egg-info").write_text("a file, as older installers wrote")
    sys.path += [str(tmp_path / "nowhere"), str(site / "archive.egg-info")]

    warned: list[str] = []
    handler = logger.add(warned.append, format="{message}")
    try:
        assert names() == ["callback_0", "callback_1", "callback_2", "nameless"]
    finally:
        logger.remove(handler)
    assert plugins.find("nameless").distribution == "broken-name"
    assert plugins.find("nameless").version == "unknown"
    (text,) = warned
    assert text.startswith("The plugins of broken-lines 1.0 cannot be listed: ")
    assert f"Fix: repair or uninstall broken-lines; what cannot be read is {site / 'broken_lines'}" in text
