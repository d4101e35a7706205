"""`Places`: folders in which a backend that is checked writes its logs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from loguru import logger
from treadle.authoring import function, instance_of
from treadle.errors import ArgumentTypeError

from treadle_logging.backend import LoggerBackend

Make = Callable[[Path], LoggerBackend]
Row = tuple[str, int, float]
Read = Callable[[Path], Iterable[Row]]

MAKE = 'check_backend(lambda folder: MyBackend(folder / "log"))'
READ = "check_backend(make, read=lambda folder: rows_of(folder))"


class Place:
    """A folder with one log.

    Args:
        folder: Empty at first.
    """

    def __init__(self, places: Places, folder: Path) -> None:
        self.places, self.folder = places, folder
        self.made: list[LoggerBackend] = []

    def make(self) -> LoggerBackend:
        """A new backend, which goes on with the log that is there."""
        backend = instance_of(self.places.make(self.folder), "What make makes", LoggerBackend, MAKE)  # type: ignore[type-abstract]
        if any(backend is other for other in self.made):
            raise ArgumentTypeError(
                f"make returned the same {type(backend).__name__} again, and each call has to make a new one, as each "
                f"process does.\nFix: make it inside:\n    {MAKE}"
            )
        self.made.append(backend)
        return backend

    def read(self) -> dict[str, list[tuple[int, float]]] | None:
        """The iterations and numbers of the log by their tags; None where the author does not say how to read it."""
        if self.places.read is None:
            return None
        found: dict[str, list[tuple[int, float]]] = {}
        for row in self.places.read(self.folder):
            try:
                tag, i, number = row
                found.setdefault(str(tag), []).append((int(i), float(number)))
            except (TypeError, ValueError):
                raise ArgumentTypeError(
                    f"read gave {row!r:.60}, which is not (tag, iteration, number).\n"
                    f'Fix: give the numbers of the log, such as ("Step/Loss", 1, 0.5):\n    {READ}'
                ) from None
        return found


class Places:
    """The folders in which a backend is tried, a new one for each log.

    Args:
        make: Makes a backend in a folder.
        read: Reads what a log in a folder holds. Default: nobody knows.

    Attributes:
        name: The name of the backend's class.
    """

    def __init__(self, make: Make, read: Read | None) -> None:
        self.make = function(make, "make", MAKE)
        self.read = None if read is None else function(read, "read", READ)
        with self.place() as place:
            self.name = type(place.make()).__name__

    @contextmanager
    def place(self) -> Iterator[Place]:
        """An empty folder, which is removed in the end."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            place = Place(self, Path(folder))
            try:
                yield place
            finally:
                for backend in place.made:
                    with suppress(Exception):  # what it raises is for the check `close`
                        backend.close()


@contextmanager
def warnings() -> Iterator[list[str]]:
    """The warnings that are reported meanwhile."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(str(message)), format="{message}", level="WARNING")
    try:
        yield messages
    finally:
        logger.remove(sink)
