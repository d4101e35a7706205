"""The command as a user calls it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from treadle_cli.app import app


@dataclass(frozen=True)
class Done:
    """What a command left: its exit status, and what it printed on stdout and on stderr."""

    status: int
    out: str
    err: str


@pytest.fixture
def treadle(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls the command with arguments; its output is piped."""

    def call(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(int(ended.value.code or 0), captured.out, captured.err)

    return call
