"""The arguments of `Checkpointer`, checked."""

from __future__ import annotations

import os
from typing import Any

from treadle import Phase
from treadle.errors import ArgumentTypeError, ArgumentValueError


def check_folder(folder: Any) -> None:
    """Refuse what is no path."""
    if not isinstance(folder, str | os.PathLike):
        raise ArgumentTypeError(f"Checkpointer needs the path of a folder, got {folder!r}: Checkpointer('runs/digits')")


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or less than `least`; None is fine."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{name} is a whole number, got {value!r}: Checkpointer(folder, {name}=3)")
    if value < least:
        raise ArgumentValueError(f"{name} is at least {least}, got {value}: Checkpointer(folder, {name}=3)")


def check_minutes(value: Any) -> None:
    """Refuse what is no number of minutes; None is fine."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(f"every_minutes is a number, got {value!r}: Checkpointer(folder, every_minutes=10)")
    if not value > 0:
        raise ArgumentValueError(f"every_minutes is more than 0, got {value}: Checkpointer(folder, every_minutes=10)")


def check_mode(mode: Any) -> None:
    """Refuse what is no way to compare."""
    if mode not in ("min", "max"):
        raise ArgumentValueError(f'Checkpointer(mode) is "min" or "max", got {mode!r}.')


def check_phase(name: str, phase: Any) -> None:
    """Refuse what is no type of phases."""
    if not (isinstance(phase, type) and issubclass(phase, Phase)):
        raise ArgumentTypeError(
            f"Checkpointer({name}) is a type of phases, got {phase!r}: Checkpointer(folder, {name}=ValidationPhase)"
        )
