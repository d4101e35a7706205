"""What several tests of the sanity checks need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from loguru import logger


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The messages that are logged, as they come."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    yield messages
    logger.remove(sink)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same numbers in every run, and none of them for the other tests."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
