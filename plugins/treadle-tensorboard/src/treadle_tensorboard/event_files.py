"""The event files of a folder that a `TensorBoardBackend` made, and where they end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from torch.utils.tensorboard import SummaryWriter
from treadle.authoring import flush_file

#: What a record at the beginning of our files says, which readers of event files pass over.
MARK = "TensorBoardBackend of treadle_tensorboard"


def new_writer(folder: Path, **options: object) -> SummaryWriter:
    """A writer whose new event file is marked as ours, so that it is known later that it may be cut."""
    writer = SummaryWriter(str(folder), **options)
    assert writer.file_writer is not None  # it is there until the writer is closed
    writer.file_writer.add_event(Event(source_metadata=SourceMetadata(writer=MARK)))
    writer.flush()
    return writer


def event_files(folder: Path) -> list[Path]:
    """Our event files in a folder; others that are there too are left alone."""
    return [path for path in sorted(folder.glob("*tfevents*")) if MARK.encode() in beginning(path)]


def beginning(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(512)


def lengths(folder: Path) -> dict[str, int]:
    """The lengths of our event files in bytes, which are on the disk then, by their names."""
    found = {}
    for path in event_files(folder):
        flush_file(path)
        found[path.name] = path.stat().st_size
    return found


def cut(folder: Path, lengths: Mapping[str, int]) -> None:
    """Cut our event files to lengths that they had, and remove those that came later."""
    for path in event_files(folder):
        if path.name in lengths:
            with path.open("r+b") as file:
                file.truncate(lengths[path.name])
        else:
            path.unlink()


def missing(folder: Path, lengths: Mapping[str, int]) -> list[str]:
    """The names of event files that are not there, or shorter than they were."""
    found = {path.name: path.stat().st_size for path in event_files(folder)}
    return [name for name, length in lengths.items() if found.get(name, 0) < length]
