"""What finding the plugins costs where 300 distributions are installed: `python tests/benchmarks/discovery.py`."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

#: Asked in a fresh process, with the folder alone on the path: the times of the first call and of later ones.
PROBE = """
import gc, json, sys, time
import treadle
from treadle import plugins

def seconds():
    begin = time.perf_counter()
    assert sum(plugin.distribution.startswith("plugin-") for plugin in plugins.installed()) == int(sys.argv[2])
    return time.perf_counter() - begin

sys.path.append(sys.argv[1])
gc.collect()  # of what the imports left behind, which whoever allocates next would pay for
first = seconds()
again = min(seconds() for _ in range(20))
info = __import__("pathlib").Path(sys.argv[1]) / "late-1.0.dist-info"
info.mkdir()
after_an_installation = seconds()
info.rmdir()
print(json.dumps([first, again, after_an_installation]))
"""

#: A README of the usual length: it stands in the metadata, too.
README = "A line of a README, as metadata hold it whole, about what the library is for.\n" * 150


def seconds_of_discovery(distributions: int = 300, plugins: int = 10, runs: int = 3) -> tuple[float, float, float]:
    """The time to list the plugins for the first time in a process, again, and after something was installed."""
    with tempfile.TemporaryDirectory() as folder:
        for i in range(distributions):
            name = f"plugin-{i}" if i < plugins else f"library-{i}"
            group = "treadle.callbacks" if i < plugins else "console_scripts"
            info = Path(folder) / f"{name.replace('-', '_')}-1.0.dist-info"
            info.mkdir()
            info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\n{README}")
            info.joinpath("entry_points.txt").write_text(f"[{group}]\nentry_{i} = package_{i}:Callback\n")
        command = [sys.executable, "-c", PROBE, folder, str(plugins)]
        found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(runs)]
    first, again, changed = (statistics.median(times) for times in zip(*found, strict=True))
    return first, again, changed


if __name__ == "__main__":
    for what, seconds in zip(("the first time", "again", "after a change"), seconds_of_discovery(), strict=True):
        print(f"{what:15} {1e3 * seconds:6.2f} ms")
