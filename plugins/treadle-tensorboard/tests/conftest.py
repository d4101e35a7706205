"""Event files read back, and the warnings."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = dict.fromkeys(("scalars", "histograms", "images", "audio", "tensors"), 0)


@pytest.fixture
def read() -> Callable[[Path], EventAccumulator]:
    """A function that reads everything of a run's folder."""

    def read(folder: Path) -> EventAccumulator:
        events = EventAccumulator(str(folder), size_guidance=EVERYTHING)
        return events.Reload()

    return read


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda text: messages.append(text.rstrip("\n")), format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)
