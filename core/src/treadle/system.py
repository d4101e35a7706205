"""What differs from one operating system to the next: getting files onto the disk, replacing them, locking them.

Nothing else of this repository asks which system it runs on, but for what only one of them has. And which of the
processes of a run this one is.

- macOS: `fsync` hands data to the drive, which may keep them for a while. `F_FULLFSYNC` waits for the drive, too.
- Windows flushes only what is open for writing, and opens no folders. What somebody has open there (a scanner of
  viruses that looks at what was just written) is neither renamed nor removed until it is closed. What is locked cannot
  be read. `os.kill(pid, 0)`, which elsewhere asks whether there is such a process, ends it.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Seconds to wait, again and again, for somebody to close what is to be renamed. Elsewhere nobody is waited for.
PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6) if sys.platform == "win32" else ()

#: Where the byte is that is locked on Windows: behind whatever is to be read.
FAR = 1 << 20


def flush_file(path: str | Path) -> None:
    """Wait until a file is on the disk; what is still in buffers of this process is not in it.

    Example:
        >>> from pathlib import Path
        >>> file = Path("notes.txt").open("w")
        >>> _ = file.write("all of it")
        >>> file.flush()
        >>> flush_file("notes.txt")
        >>> file.close()
    """
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        flush_descriptor(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: str | Path) -> None:
    """Wait until the names in a folder are on the disk, where the system and the file system can do that.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("whole.txt").write_text("all of it")
        >>> flush_folder(".")
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder may be written to and not be listed
        return
    try:
        flush_descriptor(descriptor)
    except OSError:  # not every file system flushes folders
        pass
    finally:
        os.close(descriptor)


def flush_descriptor(descriptor: int) -> None:
    """Wait until an open file or folder is on the disk."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # a drive of the network may have no such thing
            pass
        else:
            return
    os.fsync(descriptor)


def rename(path: str | Path, target: str | Path) -> None:
    """Give a file or a folder another name, in one step; a file of that name is replaced.

    Raises:
        OSError: as `os.replace`; on Windows after a second in which somebody had one of them open.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("new.txt").write_text("new"), Path("old.txt").write_text("old")
        >>> rename("new.txt", "old.txt")
        >>> Path("old.txt").read_text(), Path("new.txt").exists()
        ('new', False)
    """
    for pause in PAUSES:
        try:
            os.replace(path, target)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    os.replace(path, target)


def removes_open_files() -> bool:
    """Whether a file can be removed while it is open.

    Example:
        >>> import os
        >>> removes_open_files() or os.name == "nt"
        True
    """
    return sys.platform != "win32"


def lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed, or the process ends; the lock is of this opening of the file alone.

    Returns:
        Whether it is locked now, and not by somebody else; None if this file system has no locks.

    Example:
        >>> with open("run.lock", "w") as first, open("run.lock") as second:
        ...     lock(first.fileno()), lock(second.fileno())
        (True, False)
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, FAR, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK) else None
    return True


def is_running(process: int) -> bool | None:
    """Whether there is a process of this number; None where asking is not possible.

    Example:
        >>> import os
        >>> is_running(os.getpid()) is not False
        True
    """
    if sys.platform == "win32":
        return None
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def is_main_process() -> bool:
    """Whether this process is the first of its process group; without one it is.

    Example:
        >>> is_main_process()
        True
    """
    from torch import distributed  # this file itself needs nothing of torch

    if not (distributed.is_available() and distributed.is_initialized()):
        return True
    return distributed.get_rank() == 0
