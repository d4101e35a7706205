"""The warnings that are logged."""

from collections.abc import Iterator

import pytest
from loguru import logger


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda text: messages.append(text.rstrip("\n")), format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)
