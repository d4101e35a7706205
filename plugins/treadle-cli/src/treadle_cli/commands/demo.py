"""`treadle demo`: the program `treadle_cli.digits`, where everything that it needs is installed."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

from treadle_cli.output import fail

#: The modules that the demo needs beside those of the command, each with the distribution that it is of.
NEEDED = {
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
    "treadle_metrics": "treadle-metrics",
    "treadle_progress": "treadle-progress",
    "treadle_sanity": "treadle-sanity",
}


def demo() -> None:
    """Train, and say what was left behind."""
    missing = [distribution for module, distribution in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        fail(f'treadle demo needs {", ".join(missing)} as well.\nFix: install it:\n    pip install "treadle-cli[demo]"')
    runpy.run_module("treadle_cli.digits", run_name="__main__")
    left = sorted(path.name for path in Path("runs/digits").iterdir())
    print(f"In runs/digits: {', '.join(left)}")
