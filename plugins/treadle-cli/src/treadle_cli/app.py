"""The commands and their options. What one does is imported when it is called: `treadle --help` needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Without markup, help is plain text, also where it is piped; and a fault of ours shows Python's own traceback.
app = typer.Typer(
    name="treadle",
    help="Find, inspect, check and start plugins of Treadle.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program.")]


@app.callback()
def treadle() -> None:
    """Find, inspect, check and start plugins of Treadle.

    Exit status: 0 if all is well, 1 for a broken plugin or an unresolved conflict, 2 for wrong use.
    """


@app.command(no_args_is_help=True)
def new(
    name: Annotated[str, typer.Argument(help="The distribution's name, such as treadle-loss-spike.")],
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    author: Annotated[str, typer.Option(help="Who holds the copyright. Default: the authors of NAME.")] = "",
    as_json: Json = False,
) -> None:
    """Start a plugin: a folder NAME with a callback, its tests, and all that publishing it needs."""
    from treadle_cli.commands.new import new as run

    run(name, folder, author, as_json)


def main() -> None:
    """Run the command `treadle`."""
    app()
