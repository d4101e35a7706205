"""Build all distributions, check what was built, train from it, and draft the changes: `python -m release`.

Nothing is uploaded, and nothing is fetched: what the distributions need from others is linked from this environment.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from environment import Environment, needed, run

from release.changelog import changelog
from release.distributions import ROOT, ReleaseError, folders, git, project, refuse_unreleasable, version

#: What a part of the distributions is tried with; all together are tried with the demo.
TRIAL = "import treadle; assert treadle.toy_learner().fit(5).steps == 80; print(treadle.__version__, treadle.__file__)"
DEMO = "import os, sys; os.chdir(sys.argv.pop()); from treadle_cli import main; main()"


def build(chosen: Sequence[Path], target: Path) -> list[Path]:
    """Build the source archive of each distribution, and from that its wheel."""
    for folder in chosen:
        run(sys.executable, "-m", "build", "--no-isolation", "--outdir", target, folder)
    return sorted([*target.glob("treadle*.tar.gz"), *target.glob("treadle*.whl")])


def check(built: Sequence[Path]) -> None:
    """Check the metadata, and that the READMEs can be shown, as the index does."""
    print(run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built).strip())


def install(chosen: Sequence[Path], target: Path, folder: Path) -> Environment:
    """Install what was built into a new environment, and check that everything fits there."""
    environment = Environment(folder, target)
    names = [project(folder)["name"] for folder in chosen]
    extras = {"treadle": "[all,plot]"}
    linked = set().union(*(needed(name) for name in names), needed("pip"))
    if "treadle" in names:
        linked |= needed("treadle", "plot") | needed("scikit-learn")
    environment.link(linked)
    for name in names:
        environment.install(f"{name}{extras.get(name, '')}")
    run(environment.python, "-I", "-m", "pip", "check")
    listed = run(environment.python, "-I", "-m", "pip", "list", "--format=freeze").split()
    for name in names:
        assert f"{name}=={version()}" in listed, f"{name} {version()} is not among what was installed: {listed}"
    return environment


def train(environment: Environment, folder: Path, *, whole: bool) -> None:
    """Train in the new environment, outside of the repository."""
    if not whole:
        print(run(environment.python, "-I", "-c", TRIAL).strip())
        return
    run(environment.python, "-I", "-c", DEMO, "demo", folder)
    left = sorted(path.name for path in (folder / "runs" / "digits").iterdir())
    assert left == ["curves.png", "history.csv", "plan.svg"], left
    *_, last = (folder / "runs" / "digits" / "history.csv").read_text(encoding="utf-8").splitlines()
    print(f"treadle demo has trained; its last line of records: {last}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Go through the steps of a release."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="these distributions alone; a trial")
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=ROOT / "dist", help="where to; default: dist")
    parser.add_argument("--draft", action="store_true", help="also with changes that are in no commit")
    options = parser.parse_args(arguments)

    available = {project(folder)["name"]: folder for folder in folders()}
    if unknown := set(options.only or ()) - set(available):
        raise ReleaseError(f"There is no distribution {', '.join(sorted(unknown))}.\nFix: {', '.join(available)}.")
    chosen = [folder for name, folder in available.items() if name in (options.only or available)]
    if not options.draft:
        refuse_unreleasable()
    options.out.mkdir(parents=True, exist_ok=True)
    for pattern in ("treadle*.whl", "treadle*.tar.gz", "CHANGELOG.md"):  # of the release before
        for file in options.out.glob(pattern):
            file.unlink()
    begin = time.perf_counter()

    def step(text: str) -> None:
        print(f"[{time.perf_counter() - begin:5.1f} s] {text}", flush=True)

    step(
        f"Building {len(chosen)} distributions of version {version()}, of commit {git('rev-parse', '--short', 'HEAD')}"
    )
    built = build(chosen, options.out)
    step(f"Checking {len(built)} files")
    check(built)
    with tempfile.TemporaryDirectory() as scratch:
        step("Installing them into a new environment")
        environment = install(chosen, options.out, Path(scratch) / "environment")
        step("Training there")
        train(environment, Path(scratch), whole=not options.only)
    (options.out / "CHANGELOG.md").write_text(changelog(), encoding="utf-8", newline="\n")
    step(
        f"Ready in {options.out}: {len(built)} files, and the draft of the changes, CHANGELOG.md. Nothing was uploaded."
    )


if __name__ == "__main__":
    try:
        main()
    except (ReleaseError, AssertionError) as error:
        sys.exit(f"Not released. {error}")
