"""Each distribution builds by itself and works with the core and its declared dependencies alone."""

import itertools
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import treadle
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from environment import Environment, needed, run

    patch.syspath_prepend(Path(__file__).parents[1])
    from release.version import compatible_range

ROOT = Path(__file__).parents[1]
CORE = ROOT / "core"
PLUGINS = sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))
FOLDERS = [CORE, *PLUGINS, ROOT]
# Chosen by name: of the others the metapackage brings all.
NOT_STANDARD = {"treadle-distributed", "treadle-flux", "treadle-fastai", "treadle-mlflow", "treadle-wandb"}

# What an environment is asked, from inside it.
PROBE = """
import importlib, importlib.metadata as metadata, json, sys
import treadle
treadle.toy_learner().fit(1)
importlib.import_module(sys.argv[1])
print(json.dumps({
    "files": {name: module.__file__ for name, module in sys.modules.items()
              if name.startswith("treadle") and "." not in name},
    "distributions": sorted(d.name for d in metadata.distributions() if d.name.startswith("treadle")),
    "callbacks": {p.name: f"{p.load().__module__}:{p.load().__qualname__}"
                  for p in metadata.entry_points(group="treadle.callbacks")},
}))
"""


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def hatch(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]


def package(folder: Path) -> str:
    return "treadle" if folder in (CORE, ROOT) else project(folder)["name"].replace("-", "_")


def ours(requirements: Iterable[str]) -> list[Requirement]:
    return [r for r in map(Requirement, requirements) if r.name.startswith("treadle")]


every_distribution = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: project(folder)["name"])


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of every distribution, each built from its source archive as for a release."""
    target = tmp_path_factory.mktemp("dist")
    with ThreadPoolExecutor() as pool:
        build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", target]
        list(pool.map(lambda folder: run(*build, folder), FOLDERS))
    return target


def wheel(wheels: Path, folder: Path) -> zipfile.ZipFile:
    (path,) = wheels.glob(project(folder)["name"].replace("-", "_") + "-*.whl")
    return zipfile.ZipFile(path)


@dataclass(frozen=True)
class Examination:
    """What came of a distribution in an environment of its own."""

    answer: dict[str, Any]
    tests: subprocess.CompletedProcess[str] | None


def examine(folder: Path, wheels: Path, target: Path, profile: str) -> Examination:
    name = project(folder)["name"]
    environment = Environment(target, wheels)
    environment.link(needed(name))
    environment.install(name)
    answer = json.loads(run(environment.python, "-I", "-c", PROBE, package(folder)))
    if folder == ROOT:
        return Examination(answer, None)

    environment.link(needed(name, "test") | needed("pytest") | needed("hypothesis"))
    if "test" in project(folder).get("optional-dependencies", {}):
        environment.install(f"{name}[test]")
    options = ["-c", ROOT / "pyproject.toml", "--confcutdir", folder, "-p", "no:cacheprovider"]
    options += ["--hypothesis-profile", profile]
    # torch says so where numpy is not installed, and needs none.
    options += ["-W", "ignore:Failed to initialize NumPy:UserWarning"]
    command = [environment.python, "-I", "-m", "pytest", "-q", *options, folder / "tests"]
    return Examination(answer, subprocess.run(command, capture_output=True, text=True, cwd=target))


@pytest.fixture(scope="module")
def examinations(wheels: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """The examination of each distribution that was asked for, as futures: they run side by side."""
    here = [item for item in request.session.items if item.path == Path(__file__)]
    profile = settings.get_current_profile_name()
    wanted = [item.callspec.params["folder"] for item in here if "examinations" in item.fixturenames]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            folder: pool.submit(examine, folder, wheels, tmp_path_factory.mktemp(folder.name), profile)
            for folder in dict.fromkeys(wanted)
        }


@every_distribution
def test_it_installs_and_works_without_the_others(folder: Path, examinations) -> None:
    answer = examinations[folder].result().answer

    expected = {"treadle-core", project(folder)["name"]}
    ahead = ours(project(folder)["dependencies"])
    while ahead:
        requirement = ahead.pop()
        expected.add(requirement.name)
        if requirement.name != "treadle-core":
            ahead += ours(project(ROOT / "plugins" / requirement.name)["dependencies"])
    assert answer["distributions"] == sorted(expected)
    assert package(folder) in answer["files"]
    assert [file for file in answer["files"].values() if Path(file).is_relative_to(ROOT)] == []

    folders = [CORE, *(ROOT / "plugins" / name for name in expected - {"treadle-core", "treadle"})]
    points = [project(folder).get("entry-points", {}).get("treadle.callbacks", {}) for folder in folders]
    assert answer["callbacks"] == {name: value for group in points for name, value in group.items()}


@pytest.mark.parametrize("folder", [CORE, *PLUGINS], ids=lambda folder: folder.name)
def test_its_tests_pass_without_the_others(folder: Path, examinations) -> None:
    tests = examinations[folder].result().tests
    assert tests.returncode == 0, tests.stdout + tests.stderr


@pytest.mark.parametrize("folder", [CORE, *PLUGINS], ids=lambda folder: folder.name)
def test_the_wheel_holds_the_package_and_nothing_else(folder: Path, wheels: Path) -> None:
    source = folder / "src"
    files = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    files = {file for file in files if "__pycache__" not in file}
    packed = set(wheel(wheels, folder).namelist())

    assert {name for name in packed if ".dist-info/" not in name} == files
    assert {f"{package(folder)}/__init__.py", f"{package(folder)}/py.typed"} <= files


def test_the_metapackage_holds_nothing_of_its_own(wheels: Path) -> None:
    assert [name for name in wheel(wheels, ROOT).namelist() if ".dist-info/" not in name] == []


def test_the_metapackage_brings_the_core_and_the_standard_plugins() -> None:
    brought = {requirement.name for requirement in ours(project(ROOT)["dependencies"])}
    assert brought == {project(folder)["name"] for folder in [CORE, *PLUGINS]} - NOT_STANDARD


def test_with_all_it_brings_the_others_too() -> None:
    every = ours(project(ROOT)["optional-dependencies"]["all"])
    assert {requirement.name for requirement in every} == NOT_STANDARD
    assert {str(requirement.specifier) for requirement in every} == {
        str(requirement.specifier) for requirement in ours(project(ROOT)["dependencies"])
    }


@every_distribution
def test_the_wheel_carries_licence_and_description(folder: Path, wheels: Path) -> None:
    with wheel(wheels, folder) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert (folder / "README.md").read_text() in metadata.get_payload()


@every_distribution
def test_the_version_stands_in_one_place_and_the_ranges_fit_it(folder: Path) -> None:
    assert project(folder)["dynamic"] == ["version"]
    assert (folder / hatch(folder)["version"]["path"]).resolve() == CORE / "src" / "treadle" / "__init__.py"

    extras = project(folder).get("optional-dependencies", {}) if folder in PLUGINS else {}
    requirements = [*project(folder)["dependencies"], *itertools.chain(*extras.values())]
    ranges = {requirement.name: str(requirement.specifier) for requirement in ours(requirements)}
    assert ranges == dict.fromkeys(ranges, str(SpecifierSet(compatible_range(treadle.__version__))))


@every_distribution
def test_what_is_built_carries_that_version(folder: Path, wheels: Path) -> None:
    name = project(folder)["name"].replace("-", "_")
    built = {path.name for path in wheels.glob(f"{name}-*")}
    assert built == {f"{name}-{treadle.__version__}.tar.gz", f"{name}-{treadle.__version__}-py3-none-any.whl"}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_an_entry_point_is_the_class_in_snake_case_in_its_own_module(folder: Path) -> None:
    for name, value in project(folder).get("entry-points", {}).get("treadle.callbacks", {}).items():
        module, class_name = value.split(":")
        assert class_name.lower() == name.replace("_", "")
        assert module.split(".")[0] == package(folder)
        assert len(module.split(".")) > 1, f"{name}: name the module that defines {class_name}"
