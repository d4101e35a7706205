"""`HyperParams`: the settings of a run, to log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from treadle.errors import ArgumentTypeError

from treadle_logging.loggable import Loggable, text

EXAMPLE = 'HyperParams({"lr": 0.1, "layers": 3})'


@dataclass(frozen=True)
class HyperParams(Loggable):
    """The settings that a run was made with, by which runs are compared.

    Args:
        data: A mapping of names to numbers, texts or booleans.

    Raises:
        ArgumentTypeError: if it is not such a mapping.

    Example:
        >>> from pathlib import Path
        >>> from treadle_logging import CSVBackend, log_to
        >>> with CSVBackend("settings.csv") as backend:
        ...     log_to(backend, HyperParams({"lr": 0.1, "layers": 3}), "HParams", 0)
        >>> print(Path("settings.csv").read_text())
        tag,iteration,value
        HParams/lr,0,0.1
        HParams/layers,0,3
    """

    data: Mapping[str, bool | int | float | str]

    def __post_init__(self) -> None:
        if not isinstance(self.data, Mapping):
            raise ArgumentTypeError(
                f"HyperParams(data) must be a mapping of names to values, got a {type(self.data).__name__}.\n"
                f"Fix: name the values:\n    {EXAMPLE}"
            )
        data = {text(name, "HyperParams(data)", EXAMPLE): _plain(name, value) for name, value in self.data.items()}
        object.__setattr__(self, "data", data)


def _plain(name: str, value: Any) -> bool | int | float | str:
    """A number, text or boolean; one element of a tensor or array counts as what it holds."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        return text(value, f"HyperParams(data)[{name!r}]", EXAMPLE)
    if not isinstance(value, bool | int | float):
        raise ArgumentTypeError(
            f"HyperParams(data) must hold numbers, texts and booleans, and {name!r} is a {type(value).__name__}.\n"
            f"Fix: log it as a text, or each part of it under a name of its own:\n"
            f"    HyperParams({{{name!r}: str(value)}})"
        )
    return value
