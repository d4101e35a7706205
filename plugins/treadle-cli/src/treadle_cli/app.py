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


@app.command()
def plugins(as_json: Json = False) -> None:
    """List every callback that is installed, and what it declares; also the broken and the disabled ones."""
    from treadle_cli.commands.plugins import plugins as run

    run(as_json)


@app.command(no_args_is_help=True)
def plan(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME", help="Names of callbacks, such as ema:decay=0.9 metrics; or one script.py:learner."
        ),
    ],
    default_callbacks: Annotated[
        bool | None,
        typer.Option(
            "--defaults/--no-defaults",
            help="Whether the default callbacks join those that are named; they do unless you say no. "
            "A script's learner has those that it was made with.",
            show_default=False,
        ),
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the graph as a Mermaid flowchart.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Print the plan as an SVG picture.")] = False,
    as_json: Json = False,
) -> None:
    """Show in which order callbacks run and why; or why they have none, and how to fix it.

    A script is imported as a module, so what stands under `if __name__ == "__main__":` does not run. The object is a
    Learner, or a function without arguments that returns one.
    """
    from treadle_cli.commands.plan import plan as run

    run(names, default_callbacks, {"--mermaid": mermaid, "--svg": svg, "--json": as_json})


@app.command()
def check(as_json: Json = False) -> None:
    """Check how every pair of installed callbacks combines: ordered, compatible, refused, or not resolved.

    Of each callback one is looked at, made by `example()` of its class. With other arguments it may combine in another
    way: `treadle plan` shows what you name, with your arguments.
    """
    from treadle_cli.commands.check import check as run

    run(as_json)


@app.command(no_args_is_help=True)
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The distribution's name, such as treadle-loss-spike.")],
    folder: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
    author: Annotated[str, typer.Option(help="Who holds the copyright. Default: the authors of NAME.")] = "",
    as_json: Json = False,
) -> None:
    """Start a plugin: a folder NAME with a callback, its tests, and all that publishing it needs."""
    from treadle_cli.commands.new import new as run

    run(name, folder, author, as_json)


@app.command()
def demo() -> None:
    """Train on handwritten digits, and leave the history and pictures of the run in runs/digits."""
    from treadle_cli.commands.demo import demo as run

    run()


def main() -> None:
    """Run the command `treadle`."""
    app()
