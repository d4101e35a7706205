"""Backends that are quick to make, what is in their files, and the warnings."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from treadle_wandb import WandbBackend
from treadle_wandb.offline_file import rows

#: What W&B would find out of the machine takes it most of a second.
QUICK = {"silent": True, "console": "off", "x_disable_stats": True, "x_disable_meta": True, "disable_git": True}


@pytest.fixture
def make() -> Callable[..., WandbBackend]:
    """A function that makes a backend that writes into a folder."""

    def make(folder: Path, **options: Any) -> WandbBackend:
        return WandbBackend(folder, settings={**QUICK, "x_save_requirements": False}, **options)

    return make


@pytest.fixture
def history() -> Callable[[Path], list[dict[str, Any]]]:
    """A function that reads the rows of a folder's run, without what W&B adds."""

    def history(folder: Path) -> list[dict[str, Any]]:
        found = rows(sorted(folder.glob("wandb/offline-run-*/*.wandb")))
        return [{key: value for key, value in row.items() if not key.startswith("_")} for row in found]

    return history


@pytest.fixture
def read(history) -> Callable[[Path], list[tuple[str, int, float]]]:
    """A function that reads the numbers of a folder's run: (tag, iteration, number)."""

    def read(folder: Path) -> list[tuple[str, int, float]]:
        found = []
        for row in history(folder):
            axis = next((key for key in row if key.split("/")[-1] == "iteration"), None)
            found += [(key, row.get(axis, 0), float(value)) for key, value in row.items() if key != axis]
        return found

    return read


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda text: messages.append(text.rstrip("\n")), format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)
