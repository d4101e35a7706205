"""`write_line`: a line between progress bars."""

from __future__ import annotations

from typing import IO

from tqdm.auto import tqdm


def write_line(line: str, file: IO[str], style: str | None = None) -> None:
    """Write a line; progress bars on the same terminal make room for it and come back below.

    Args:
        line: The line.
        file: Where to write.
        style: How rich prints it; "" is plain. Default: without rich.
    """
    with tqdm.external_write_mode(file=file):
        if style is None:
            print(line, file=file, flush=True)
        else:
            from rich.console import Console
            from rich.text import Text

            Console(file=file, soft_wrap=True).print(Text(line, style=style))
