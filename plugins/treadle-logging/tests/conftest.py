"""A backend that keeps what is logged, or fails, and the warnings."""

from collections.abc import Callable, Iterator

import pytest
from loguru import logger
from treadle_logging import Histogram, LoggerBackend, Text, Value
from treadle_logging.loggable import Loggable


class Memory(LoggerBackend):
    """Keeps rows of (tag, iteration, data); `fail_on` makes calls raise, counted from 1."""

    def __init__(self, fail_on: Callable[[int], bool] = lambda call: False) -> None:
        self.rows: list[tuple[str, int, object]] = []
        self.loggables: list[Loggable] = []
        self.calls = 0
        self.flushes = 0
        self.fail_on = fail_on

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        self.calls += 1
        if self.fail_on(self.calls):
            raise OSError("the disk is full")
        self.loggables.append(loggable)
        if isinstance(loggable, Value):
            data: object = loggable.number
        elif isinstance(loggable, Text):
            data = loggable.data
        elif isinstance(loggable, Histogram):
            data = loggable.values.tolist()
        else:
            data = type(loggable).__name__
        self.rows.append((self.tag(name, group), i, data))

    def flush(self) -> None:
        self.flushes += 1

    def of(self, tag: str) -> list[tuple[int, object]]:
        """The (iteration, data) that were logged under a tag."""
        return [(i, data) for logged, i, data in self.rows if logged == tag]

    def tags(self) -> list[str]:
        """The tags, without repetition, in the order of their first rows."""
        return list(dict.fromkeys(tag for tag, _, _ in self.rows))


@pytest.fixture
def new_memory() -> type[Memory]:
    return Memory


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings that were reported through loguru."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.rstrip("\n")), format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)
