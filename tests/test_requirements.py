"""What a distribution requires is what it imports, from the versions on that `make floors` runs its tests with."""

import ast
import importlib.metadata
import itertools
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = [ROOT / "core", *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
OURS = {path.name: folder.name for folder in DISTRIBUTIONS for path in (folder / "src").iterdir() if path.is_dir()}
OURS["treadle"] = "treadle-core"

# What a library that is imported needs for it, and leaves to whom imports it.
BEHIND = {
    "treadle-mlflow": {"alembic", "sqlalchemy"},  # MLflow imports them for its databases
    "treadle-wandb": {"pillow"},  # W&B opens pictures with it
    "treadle-checkpoint": {"numpy"},  # safetensors.torch imports it
}
# What imports these modules is itself imported by them only.
HOSTS = {"pytest"}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def extras(folder: Path) -> dict[str, list[str]]:
    return project(folder).get("optional-dependencies", {})


def names(requirements: list[str]) -> set[str]:
    return {Requirement(requirement).name for requirement in requirements}


def imported(folder: Path) -> set[str]:
    """The distributions that the sources of one import, other than itself."""
    modules = set()
    for file in (folder / "src").rglob("*.py"):
        if "scaffold" in file.parts:  # of a plugin that `treadle new` makes
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                modules.add(node.module.split(".")[0])
    others = modules - set(sys.stdlib_module_names) - HOSTS
    installed = importlib.metadata.packages_distributions()
    found = {OURS.get(module) or installed[module][0].lower().replace("_", "-") for module in others}
    return found - {project(folder)["name"]}


every_distribution = pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)


@every_distribution
def test_it_requires_what_it_imports_and_nothing_else(folder: Path) -> None:
    behind = BEHIND.get(project(folder)["name"], set())
    optional = {name for extra in ("plot", "demo") for name in names(extras(folder).get(extra, []))}
    assert names(project(folder)["dependencies"]) | optional == imported(folder) | behind


@every_distribution
def test_the_floors_are_those_that_the_tests_were_run_with(folder: Path) -> None:
    floors = dict(re.findall(r"^(?:# )?([a-z-]+)==([\d.]+)$", (ROOT / "floors.txt").read_text(), re.MULTILINE))

    stated = [project(folder)["dependencies"], *extras(folder).values()]
    found = {
        requirement.name: {part.version for part in requirement.specifier if part.operator == ">="}
        for requirement in map(Requirement, itertools.chain(*stated))
        if not requirement.name.startswith("treadle")
    }
    assert found == {name: {floors.get(name)} for name in found}
