"""What holds for all commands."""

import subprocess
import sys

import pytest
from treadle_cli.app import app

COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands)


@pytest.mark.parametrize("arguments", [[], ["new"], ["plan"]])
def test_without_an_argument_that_is_needed_it_prints_its_help_and_ends_with_2(treadle, arguments) -> None:
    done = treadle(*arguments)
    assert done.status == 2
    assert "Usage: " in done.out + done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_without_colours_and_boxes(treadle, command) -> None:
    done = treadle(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert f" {command} " in done.out.splitlines()[0]
    assert done.out.isascii()


def test_a_wrong_command_is_refused_with_the_one_that_was_meant(treadle) -> None:
    done = treadle("nwe")
    assert (done.status, done.out) == (2, "")
    assert "Did you mean 'new'?" in done.err


def test_help_and_new_import_neither_torch_nor_rich() -> None:
    look = "import sys; import treadle_cli.app, treadle_cli.commands.new; print({'torch', 'rich'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
