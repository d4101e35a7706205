"""The files in which W&B keeps a run until it is synchronised: what is in them, and how one is cut.

Such a file is a log as LevelDB writes it: after a header, blocks of 32 KiB with records, each with a checksum, its
length and whether it is whole or a part of one; what is in a record is a message of W&B's protocol.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 2**15
HEADER = 7  # bytes of the file, and of each record
WHOLE, LAST = 1, 4

#: How long W&B's service may take to write what it was sent, in seconds.
PATIENCE = 10.0


def files_of(folder: Path, run_id: str) -> list[Path]:
    """The files of a run, one for each time that it was begun or gone on with."""
    return sorted(folder.glob(f"wandb/offline-run-*/run-{run_id}.wandb"))


def records(path: Path, start: int = HEADER) -> Iterator[tuple[int, int, Any]]:
    """The whole records of a file from a place on: where each begins and ends, and the message."""
    from wandb.proto.wandb_internal_pb2 import Record

    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    at, parts, begin = start, b"", start
    while at + HEADER <= start + len(data):
        if (left := BLOCK - at % BLOCK) < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at - start)
        content = data[at - start + HEADER : at - start + HEADER + length]
        if kind == 0 or len(content) < length:
            return
        begin = begin if parts else at
        at, parts = at + HEADER + length, parts + content
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield begin, at, record
            parts = b""


def row_of(record: Any) -> dict[str, Any]:
    """What a record adds to the history; empty where it is of another kind."""
    items = record.history.item if record.WhichOneof("record_type") == "history" else ()
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows(paths: list[Path]) -> list[dict[str, Any]]:
    """The history that several files of a run have together, by its steps."""
    found = [row for path in paths for *_, record in records(path) if (row := row_of(record))]
    return sorted(found, key=lambda row: int(row["_step"]))


def cut(path: Path, step: int) -> None:
    """Cut a file off before the first row of its history from a step on."""
    for begin, _, record in records(path):
        row = row_of(record)
        if row and row["_step"] >= step:
            with path.open("r+b") as file:
                file.truncate(begin)
            return


def wait_for(path: Path, *, step: int | None = None, start: int = HEADER) -> int:
    """Wait until a file has the row of a step, or without one the record that ends it; return where that ends.

    Raises:
        TimeoutError: if it has not come after a while.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if path.exists():
            for _, end, record in records(path, start):
                start = end
                if (
                    (record.WhichOneof("record_type") == "exit")
                    if step is None
                    else row_of(record).get("_step") == step
                ):
                    return end
        time.sleep(0.002)
    raise TimeoutError(f"W&B's service has not written all of the run to {path}")
