"""Files and folders that are on the disk whole, or not at all.

What is written goes beside the target under a hidden name, is flushed to the disk, and only then gets its own
name, in one step of the file system. Whoever is killed in between leaves a hidden remainder and nothing else.
Nothing keeps a file open or mapped into memory, since Windows renames none that is.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from treadle.authoring import flush_file, flush_folder, rename

#: How the hidden names end.
UNFINISHED = ".unfinished"


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes `target` at the end; one that is there is replaced then.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with whole_file(target) as path:
        ...     _ = path.write_text("all of it")
        ...     target.exists()
        False
        >>> target.read_text()
        'all of it'
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = hidden(target)
    try:
        yield path
        flush_file(path)
        rename(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to write files into, which becomes `target` at the end; that must not be there yet."""
    path = begin_folder(target)
    try:
        yield path
        finish_folder(path, target)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def begin_folder(target: Path) -> Path:
    """A new folder beside the target, to write files into."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = hidden(target)
    path.mkdir()
    return path


def finish_folder(path: Path, target: Path) -> None:
    """Let a folder with all its files become the target."""
    flush_all(path, *path.iterdir())
    rename(path, target)
    flush_folder(target.parent)


def flush_all(*paths: Path) -> None:
    """Wait until files and folders are on the disk, all at once: the disk takes little longer for many than for one.

    Raises:
        OSError: the first of those that were raised, when all are done.
    """
    errors: list[OSError] = []

    def flush(path: Path) -> None:
        try:
            (flush_folder if path.is_dir() else flush_file)(path)
        except OSError as error:
            errors.append(error)

    threads = [Thread(target=flush, args=(path,)) for path in paths[1:]]
    for thread in threads:
        thread.start()
    flush(paths[0])
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def remove_folder(target: Path) -> None:
    """Remove a folder: first its name, in one step, then what is in it. Of a link to a folder only the link."""
    if target.is_symlink():
        target.unlink()
        return
    path = hidden(target)
    rename(target, path)
    shutil.rmtree(path)


def clear_remainders(folder: Path) -> None:
    """Remove what a killed process left unfinished in a folder, and in the checkpoints in it."""
    for path in [*folder.glob(f".checkpoint_*{UNFINISHED}"), *folder.glob(f"checkpoint_*/.*{UNFINISHED}")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def hidden(target: Path) -> Path:
    """An unused name beside the target."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
