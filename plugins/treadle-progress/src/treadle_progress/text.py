"""How numbers and lines are written: `formatted` and `encodable`."""

from __future__ import annotations

from typing import IO


def formatted(value: float) -> str:
    """A number in at most ten characters.

    Example:
        >>> formatted(0.98765), formatted(0.0), formatted(-0.000012345), formatted(float("nan"))
        ('0.9877', '0.0000', '-1.234e-05', 'nan')
    """
    fixed = value == 0 or 1e-3 <= abs(value) < 1e4
    return f"{value:.4f}" if fixed else f"{value:.3e}"


def encodable(line: str, file: IO[str]) -> str:
    """The line, with question marks for what a file cannot take."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)
