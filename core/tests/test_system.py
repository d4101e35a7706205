"""What differs from one operating system to the next: here as it is, the others by what they would be asked."""

import errno
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from treadle import system


def module_on(platform: str, monkeypatch: pytest.MonkeyPatch, **modules: types.SimpleNamespace) -> types.ModuleType:
    """The module as another system would load it, with modules of that system beside it."""
    for name, stand_in in modules.items():
        monkeypatch.setitem(sys.modules, name, stand_in)
    spec = importlib.util.spec_from_file_location(f"system_on_{platform}", system.__file__)
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", platform)
        spec.loader.exec_module(module)
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(platform=platform))
    return module


# As it is here.


def test_a_file_is_open_for_writing_when_it_is_flushed_and_keeps_what_is_in_it(tmp_path, monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="asks how a file was opened, as POSIX has it")
    file, modes = tmp_path / "file", []
    file.write_bytes(b"all of it\r\n")
    monkeypatch.setattr(os, "fsync", lambda descriptor: modes.append(fcntl.fcntl(descriptor, fcntl.F_GETFL) & 3))
    monkeypatch.setattr(system, "flush_descriptor", os.fsync)
    system.flush_file(file)
    assert modes == [os.O_RDWR]
    assert file.read_bytes() == b"all of it\r\n"


def test_a_file_that_is_not_there_is_not_made(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        system.flush_file(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_the_file_system_does_not_flush_is_no_error(tmp_path, monkeypatch) -> None:
    def no_flush(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", no_flush)
    (tmp_path / "file").write_text("")
    system.flush_folder(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        system.flush_file(tmp_path / "file")


def test_a_folder_gets_another_name_with_all_that_is_in_it(tmp_path) -> None:
    (tmp_path / "before" / "inside").mkdir(parents=True)
    system.rename(tmp_path / "before", tmp_path / "after")
    assert [path.name for path in tmp_path.rglob("*")] == ["after", "inside"]


@pytest.mark.skipif(sys.platform == "win32", reason="there, who has a file open is waited for")
def test_nobody_is_waited_for_where_open_files_can_be_renamed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "replace", refusing := Refusing(times=1))
    with pytest.raises(PermissionError):
        system.rename(tmp_path / "a", tmp_path / "b")
    assert refusing.left == 0


def test_a_lock_is_of_one_opening_of_a_file_and_ends_with_it(tmp_path) -> None:
    (tmp_path / "lock").write_text("")
    with (tmp_path / "lock").open("r+") as first, (tmp_path / "lock").open("r+") as second:
        assert system.lock(first.fileno()) is True
        assert system.lock(second.fileno()) is False
        first.close()
        assert system.lock(second.fileno()) is True


def test_a_file_system_without_locks_is_told_from_a_lock_that_is_held(tmp_path, monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="POSIX's locks")

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with (tmp_path / "lock").open("w") as file:
        assert system.lock(file.fileno()) is None


@pytest.mark.skipif(sys.platform == "win32", reason="there, it cannot be asked")
def test_whether_a_process_runs() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert [system.is_running(process) for process in (os.getpid(), os.getppid(), gone.pid)] == [True, True, False]


# macOS: `fsync` alone leaves the data in the drive's own memory.


def mac(monkeypatch: pytest.MonkeyPatch, done: list, *, refuses: bool = False) -> types.ModuleType:
    def fcntl(descriptor: int, command: object) -> None:
        done.append(command)
        if refuses:
            raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("fsync"))
    return module_on(
        "darwin", monkeypatch, fcntl=types.SimpleNamespace(fcntl=fcntl, F_FULLFSYNC="full", LOCK_EX=2, LOCK_NB=4)
    )


def test_on_macos_the_drive_is_waited_for_too(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("all of it")
    module = mac(monkeypatch, done := [])
    module.flush_file(tmp_path / "file")
    module.flush_folder(tmp_path)
    assert done == ["full", "full"]


def test_on_macos_a_drive_that_cannot_be_waited_for_is_flushed_as_elsewhere(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("all of it")
    module = mac(monkeypatch, done := [], refuses=True)
    module.flush_file(tmp_path / "file")
    assert done == ["full", "fsync"]


# Windows.


class Refusing:
    """`os.replace` while somebody has the file open, for a number of times."""

    def __init__(self, times: int) -> None:
        self.left, self.replace = times, os.replace

    def __call__(self, path: Path, target: Path) -> None:
        if self.left:
            self.left -= 1
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        self.replace(path, target)


class Locking:
    """`msvcrt`: which byte of which file is locked."""

    LK_NBLCK = 2

    def __init__(self, held: bool) -> None:
        self.held, self.places = held, []

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        self.places.append((os.lseek(descriptor, 0, os.SEEK_CUR), mode, count))
        if self.held:
            raise OSError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch):
    return module_on("win32", monkeypatch, msvcrt=Locking(held=False))


def test_on_windows_no_folder_is_opened(windows, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(os, "open", lambda *arguments: pytest.fail("a folder was opened"))
    windows.flush_folder(tmp_path)


def test_on_windows_a_scanner_that_has_the_file_open_is_waited_for(windows, monkeypatch, tmp_path) -> None:
    waited = []
    monkeypatch.setattr(windows, "time", types.SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(os, "replace", Refusing(times=3))
    (tmp_path / "new").write_text("new")
    windows.rename(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"
    assert waited == [0.01, 0.03, 0.1]


def test_on_windows_who_keeps_a_file_open_is_an_error_after_a_second(windows, monkeypatch, tmp_path) -> None:
    waited = []
    monkeypatch.setattr(windows, "time", types.SimpleNamespace(sleep=waited.append))
    monkeypatch.setattr(os, "replace", Refusing(times=100))
    with pytest.raises(PermissionError, match="cannot access the file"):
        windows.rename(tmp_path / "new", tmp_path / "old")
    assert 1 <= sum(waited) < 1.1


@pytest.mark.parametrize("held", [False, True])
def test_on_windows_a_byte_behind_what_is_to_be_read_is_locked(held, monkeypatch, tmp_path) -> None:
    module = module_on("win32", monkeypatch, msvcrt=(locking := Locking(held)))
    with (tmp_path / "lock").open("w+") as file:
        assert module.lock(file.fileno()) is not held
        assert locking.places == [(module.FAR, Locking.LK_NBLCK, 1)]
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 0


def test_on_windows_no_signal_is_sent_to_ask_whether_a_process_runs(windows, monkeypatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *arguments: pytest.fail("it would have been ended"))
    assert windows.is_running(os.getpid()) is None
    assert not windows.removes_open_files()
