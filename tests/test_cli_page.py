"""The examples of the command `treadle`: each is run, and prints what the page shows."""

import doctest
import json
import re
from pathlib import Path

import pytest
from treadle import plugins
from treadle_cli.app import app

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[1] / "docs")
    import first_party

PAGE = Path(__file__).parents[1] / "plugins" / "treadle-cli" / "README.md"
EXAMPLES = re.findall(r"^```console\n\$ treadle (.*)\n([^`]*)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def test_there_are_examples_of_every_command() -> None:
    shown = {command.split()[0] for command, _ in EXAMPLES}
    assert shown >= {command.callback.__name__ for command in app.registered_commands} - {"demo"}  # which has a page


def test_every_pair_of_first_party_callbacks_is_well(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["check", "--json"])
    found = json.loads(capsys.readouterr().out)
    ours = {distribution.name for distribution in first_party.distributions()}
    names = {p.name for p in plugins.installed("treadle.callbacks") if p.distribution in ours}
    assert [pair for pair in found["pairs"] if pair["verdict"] == "unresolved"] == []
    assert (found["problems"], found["broken"], found["not_checked"]) == ([], [], [])
    assert {name for pair in found["pairs"] for name in (pair["first"], pair["second"])} >= names
    assert not ended.value.code


@pytest.mark.parametrize(("command", "expected"), EXAMPLES, ids=[command for command, _ in EXAMPLES])
def test_an_example_prints_what_the_page_shows(command, expected, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        app(command.split())
    captured = capsys.readouterr()
    assert doctest.OutputChecker().check_output(expected, captured.out + captured.err, FLAGS), captured.out
