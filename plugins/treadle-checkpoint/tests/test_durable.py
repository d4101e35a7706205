import os
import sys

import pytest
from treadle_checkpoint import durable
from treadle_checkpoint.durable import clear_remainders, remove_folder, whole_file, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    with whole_file(tmp_path / "a" / "file") as path:
        path.write_text("new")
        assert not (tmp_path / "a" / "file").exists()
    assert (tmp_path / "a" / "file").read_text() == "new"
    assert names(tmp_path / "a") == ["file"]


def test_a_file_whose_writing_failed_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")

    def write():
        with whole_file(tmp_path / "file") as path:
            path.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write()
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_has_its_name_only_when_all_its_files_are_written(tmp_path):
    with whole_folder(tmp_path / "a" / "entry") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "a" / "entry").exists()
    assert names(tmp_path / "a" / "entry") == ["one"]


def test_a_folder_whose_writing_failed_leaves_nothing(tmp_path):
    def write():
        with whole_folder(tmp_path / "entry") as folder:
            (folder / "one").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert names(tmp_path) == []


def test_what_is_removed_and_what_was_left_unfinished_is_gone(tmp_path):
    for name in ("checkpoint_1", ".checkpoint_2.unfinished", ".of_another_program"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    remove_folder(tmp_path / "checkpoint_1")
    clear_remainders(tmp_path)
    assert names(tmp_path) == [".of_another_program"]


def test_what_was_left_unfinished_in_a_checkpoint_is_gone(tmp_path):
    (tmp_path / "checkpoint_1").mkdir()
    for name in ("manifest.json", ".manifest.json.1234.unfinished"):
        (tmp_path / "checkpoint_1" / name).write_text("x")
    clear_remainders(tmp_path)
    assert names(tmp_path / "checkpoint_1") == ["manifest.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="asks the system how a file was opened, as POSIX has it")
def test_every_file_is_open_for_writing_when_it_is_flushed(tmp_path, monkeypatch):
    import fcntl

    modes = []

    def fsync(descriptor):
        if not os.path.isdir(f"/dev/fd/{descriptor}"):
            modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE)

    monkeypatch.setattr(os, "fsync", fsync)
    with whole_file(tmp_path / "file") as path:
        path.write_text("x")
    with whole_folder(tmp_path / "entry") as folder:
        (folder / "one").write_text("1")
    assert modes == [os.O_RDWR] * 2  # Windows flushes nothing that is open for reading alone


def test_a_system_that_opens_or_flushes_no_folders_saves_all_the_same(tmp_path, monkeypatch):
    really = os.open, os.fsync

    def no_folders(path, *args):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")  # as Windows has it
        return really[0](path, *args)

    def no_flush(descriptor):
        if os.path.isdir(f"/dev/fd/{descriptor}"):
            raise OSError(22, "Invalid argument")  # as some file systems have it
        really[1](descriptor)

    for name, function in (("open", no_folders), ("fsync", no_flush)):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, function)
            with whole_folder(tmp_path / name) as folder:
                (folder / "one").write_text("1")
        assert names(tmp_path / name) == ["one"]


def test_a_file_or_folder_that_could_not_be_flushed_is_raised_after_all_others_were(tmp_path, monkeypatch):
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    really, flushed = durable.flush_file, []

    def flush(path):
        if path.name == "one":
            raise OSError("disk full")
        really(path)
        flushed.append(path.name)

    monkeypatch.setattr(durable, "flush_file", flush)
    with pytest.raises(OSError, match="disk full"):
        durable.flush_all(*(tmp_path / name for name in ("one", "two", "three")))
    assert sorted(flushed) == ["three", "two"]
