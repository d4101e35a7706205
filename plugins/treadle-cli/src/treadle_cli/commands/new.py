"""`treadle new NAME`: a plugin project from the files in `scaffold`."""

from __future__ import annotations

import datetime
import importlib.util
import keyword
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import importlib_metadata

from treadle_cli.output import fail, print_json

SCAFFOLD = Path(__file__).parents[1] / "scaffold"

#: Names that the scaffold's callback uses, and that its class therefore cannot have.
TAKEN = ("AbstractTrainingPhase", "Callback", "CallbackContract", "CustomCallback", "Learner", "Read", "Write")

EXAMPLE = "treadle new treadle-loss-spike"


@dataclass(frozen=True)
class Names:
    """What a plugin is called: `treadle-loss-spike`, `treadle_loss_spike`, `LossSpike`, `loss_spike`."""

    distribution: str
    package: str
    callback: str
    entry_point: str


#: What the plugin in `scaffold` is called.
OF_SCAFFOLD = Names("treadle-smallest-loss", "treadle_smallest_loss", "SmallestLoss", "smallest_loss")


def new(name: str, folder: Path, author: str, as_json: bool) -> None:
    """Make the folder of a plugin, whole or not at all."""
    names = checked(name)
    target = folder / names.distribution
    if not folder.is_dir():
        fail(f"There is no folder {str(folder)!r}.\nFix: make it first, or name another one:\n    {EXAMPLE} --folder .")
    if target.exists():
        fail(f"There is {str(target)!r} already.\nFix: remove it, or choose another name or folder.")
    files = filled(names, author or f"The authors of {names.distribution}")
    try:
        write(files, target)
    except OSError as error:
        fail(f"{target} cannot be written: {error}\nFix: name a folder where it can:\n    {EXAMPLE} --folder .")
    if as_json:
        print_json({"folder": str(target), "files": sorted(files), **asdict(names)})
        return
    print(f"Made {target}, with the callback {names.callback} of src/{names.package}/{names.entry_point}.py.")
    print(f'Next:\n    cd {target}\n    pip install -e ".[test]"\n    pytest\n    treadle plugins')


def write(files: Mapping[str, str], target: Path) -> None:
    """Write files into a new folder, which is there when all of them are."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".treadle-new-") as above:
        project = Path(above) / target.name
        for path, text in files.items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text, encoding="utf-8", newline="\n")
        project.rename(target)


def checked(name: str) -> Names:
    """What a plugin is called whose distribution has this name, if one can have it."""
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        fail(
            f"{name!r} cannot be the name of a distribution.\n"
            f"Fix: use letters, digits and hyphens, a letter first:\n    {EXAMPLE}"
        )
    distribution = re.sub(r"[-_.]+", "-", name).lower()
    package = distribution.replace("-", "_")
    entry_point = distribution.removeprefix("treadle-").replace("-", "_")
    names = Names(distribution, package, "".join(map(str.capitalize, entry_point.split("_"))), entry_point)
    for part in (names.package, names.entry_point, names.callback):
        if not part.isidentifier() or keyword.iskeyword(part) or part in TAKEN:
            fail(
                f"{name!r} would give a module or class called {part!r}, which is not possible.\n"
                f"Fix: choose another name:\n    {EXAMPLE}"
            )
    if importlib.util.find_spec(package) is not None:
        fail(f"There is a module called {package!r} already.\nFix: choose another name:\n    {EXAMPLE}")
    for entry in importlib_metadata.entry_points(group="treadle.callbacks", name=entry_point):
        owner = entry.dist.name if entry.dist else "another distribution"
        fail(
            f"{owner} has a callback called {entry_point!r} already, and of two neither could be used by that name.\n"
            f"Fix: choose another name:\n    {EXAMPLE}"
        )
    return names


def filled(names: Names, author: str) -> dict[str, str]:
    """The files of the project by their paths, with the names of the scaffold replaced by its own."""
    version = importlib_metadata.version("treadle-core")
    replaced = dict(zip(asdict(OF_SCAFFOLD).values(), asdict(names).values(), strict=True))
    replaced |= {"treadle-core>=0.1,<0.2": f"treadle-core{compatible(version)}"}
    replaced |= {"YEAR AUTHORS": f"{datetime.date.today().year} {author}"}
    pattern = re.compile("|".join(re.escape(old) for old in sorted(replaced, key=len, reverse=True)))

    def fill(text: str) -> str:
        return pattern.sub(lambda match: replaced[match[0]], text)

    return {
        fill(file.relative_to(SCAFFOLD).as_posix()): fill(file.read_text(encoding="utf-8"))
        for file in sorted(SCAFFOLD.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def compatible(version: str) -> str:
    """The range of versions that are compatible with one: those of its minor version, of its major one from 1.0 on.

    Example:
        >>> compatible("0.1.3"), compatible("1.4.0rc1")
        ('>=0.1,<0.2', '>=1.4,<2')
    """
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"
