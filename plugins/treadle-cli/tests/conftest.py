"""The command as a user calls it."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a distribution of one module, as pip would, and takes back what the test has imported of it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    modules = []

    def distribution(name: str, source: str, *, requires: str = "treadle-core", **points: str) -> None:
        module = name.replace("-", "_")
        modules.append(module)
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\nRequires-Dist: {requires}\n"
        )
        group = "treadle.plugins" if set(points.values()) == {""} else "treadle.callbacks"
        entries = [f"{key} = {module}:{value}" if value else f"{key} = {module}" for key, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *entries, ""]))

    yield distribution
    for module in modules:
        sys.modules.pop(module, None)
