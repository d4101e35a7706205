"""Environments of their own, for tests of what is installed: made quickly, and nothing is fetched."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement


def run(*command: str | Path) -> str:
    """The output of a command; where it fails, the test fails with all that it printed."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=os.sep, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed(name: str, extra: str = "") -> set[str]:
    """The distributions outside this repository that a distribution needs, and those that they need."""
    found: set[tuple[str, str]] = set()
    ahead = [(name, ""), (name, extra)]
    while ahead:
        wanted, extra = ahead.pop()
        distribution = importlib.metadata.distribution(wanted)
        if (distribution.name, extra) in found:
            continue
        found.add((distribution.name, extra))
        for requirement in map(Requirement, distribution.requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                ahead += [(requirement.name, extra) for extra in ("", *requirement.extras)]
    return {name for name, _ in found if not name.startswith("treadle")}


class Environment:
    """A new environment, in which this repository's distributions are installed from their wheels.

    What they need from outside is linked in from the environment of the tests: nothing is fetched or copied,
    and pip finds it installed and checks its version as it would any other.
    """

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.wheels = wheels
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.site = Path(run(self.python, "-I", "-c", ask).strip())

    def link(self, names: set[str]) -> None:
        for name in names:
            files = importlib.metadata.distribution(name).files
            assert files, f"{name} does not list its files"
            above = Path(files[0].locate()).parents[len(files[0].parts) - 1]
            for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
                if not (self.site / top).exists():
                    (self.site / top).symlink_to(above / top)

    def install(self, name: str) -> None:
        pip = [sys.executable, "-m", "pip", "--isolated", "--python", self.python]
        run(*pip, "install", "--quiet", "--no-index", "--find-links", self.wheels, name)
