"""The examples of the command `treadle`: each is run, and prints what the page shows."""

import doctest
import re
from pathlib import Path

import pytest
from treadle_cli.app import app

PAGE = Path(__file__).parents[1] / "plugins" / "treadle-cli" / "README.md"
EXAMPLES = re.findall(r"^```console\n\$ treadle (.*)\n([^`]*)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_there_are_examples_of_every_command() -> None:
    shown = {command.split()[0] for command, _ in EXAMPLES}
    assert shown >= {command.callback.__name__ for command in app.registered_commands} - {"demo"}  # the demo has a page


@pytest.mark.parametrize(("command", "expected"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_the_page_shows(command, expected, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        app(command.split())
    captured = capsys.readouterr()
    assert doctest.OutputChecker().check_output(expected, captured.out + captured.err, FLAGS), captured.out
