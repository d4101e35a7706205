"""`FolderLock`: one training at a time saves to a folder."""

from __future__ import annotations

import json
import os
import socket
import weakref
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from treadle.authoring import is_running, lock, removes_open_files
from treadle.errors import CheckpointError

from treadle_checkpoint.errors import FolderInUseError

#: The file in the folder that is locked while a fit is under way, with who holds it.
LOCK = ".lock"


class FolderLock:
    """A lock on a folder, which the system releases when the process ends, however it does.

    Args:
        folder: The folder; it is made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether it is held by this object."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Hold the lock, until `release`; nothing changes if this object holds it already.

        Raises:
            FolderInUseError: if another process, or another object, holds it; with who that is.
            CheckpointError: if the folder cannot be made or written to.
        """
        while not self.held:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise CheckpointError(
                    f"Checkpoints cannot be saved to {self.folder} ({error.strerror or error}).\n"
                    f"Fix: pass a folder that can be made, or that this user can write to:\n"
                    f"    Checkpointer('runs/digits')"
                ) from error
            try:
                self._take(descriptor)
            finally:
                if not self.held:
                    os.close(descriptor)

    def _take(self, descriptor: int) -> None:
        """Lock an open file, unless it was removed meanwhile by who held it before."""
        locked, holder = lock(descriptor), read_holder(descriptor)
        if locked is False or (locked is None and may_be_alive(holder, self.path)):
            raise self._in_use(holder, sure=locked is False)
        with suppress(FileNotFoundError):
            if not removes_open_files() or os.path.samestat(os.fstat(descriptor), os.stat(self.path)):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, json.dumps(myself()).encode())
                self._descriptor = descriptor
                HELD.add(self)

    def release(self) -> None:
        """Hold the lock no longer."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        try:
            if removes_open_files():
                with suppress(OSError):
                    self.path.unlink()
        finally:  # also where an interrupt came: a lock that nobody remembers would hold the folder for ever
            self._descriptor = None
            HELD.discard(self)
            os.close(descriptor)
        if not removes_open_files():
            with suppress(OSError):
                self.path.unlink()

    def _in_use(self, holder: dict[str, Any], *, sure: bool) -> FolderInUseError:
        who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}" if holder else "another process"
        if holder and (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname()):
            who = f"another training in this process, since {holder['since']}"
        gone = "" if sure else f"; or, if it is gone, remove {self.path}"
        return FolderInUseError(
            f"{self.folder} is in use by {who}.\n"
            f"Fix: wait until it has ended{gone}; or start a new run in another folder:\n"
            f"    Checkpointer('{self.folder}-2')"
        )

    def __del__(self) -> None:
        self.release()

    def __reduce__(self) -> tuple[type[FolderLock], tuple[Path]]:
        return type(self), (self.folder,)  # a copy does not hold it


#: The locks that this process holds. A forked process, such as a loader's worker, lives on without them.
HELD: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def forget_locks() -> None:
    """Close what a forked process has inherited; the process that it was forked from keeps its locks."""
    for held in list(HELD):
        if held._descriptor is not None:
            os.close(held._descriptor)
            held._descriptor = None
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_locks)


def read_holder(descriptor: int) -> dict[str, Any]:
    """What the file says about who holds the lock; nothing if it cannot be read."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 4096))
        os.lseek(descriptor, 0, os.SEEK_SET)
        return {"pid": int(holder["pid"]), "host": str(holder["host"]), "since": str(holder["since"])}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def may_be_alive(holder: dict[str, Any], path: Path) -> bool:
    """Whether who is said to hold a lock may be alive, where the system does not say it."""
    if not holder or holder["host"] != socket.gethostname():
        return bool(holder)
    if holder["pid"] == os.getpid():  # or a process that had this number before
        return any(held.path.resolve() == path.resolve() for held in HELD)
    return is_running(holder["pid"]) is not False


def myself() -> dict[str, Any]:
    """Who holds the lock, for others to read."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
