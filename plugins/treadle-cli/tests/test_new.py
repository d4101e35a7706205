"""`treadle new`; that what it makes can be tested, built, installed and used is tests/integration/test_scaffold.py."""

import ast
import json
import re
import tomllib
from datetime import date
from pathlib import Path

import importlib_metadata
import pytest
from packaging.requirements import Requirement
from treadle_cli.commands.new import Names, checked, compatible


def test_it_makes_the_folder_of_a_plugin_and_says_what_comes_next(treadle, tmp_path: Path) -> None:
    done = treadle("new", "treadle-loss-spike", "--folder", tmp_path)
    folder = tmp_path / "treadle-loss-spike"
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"Made {folder}, with the callback LossSpike of src/treadle_loss_spike/loss_spike.py.")
    assert [path.name for path in tmp_path.iterdir()] == ["treadle-loss-spike"]  # nothing beside it
    assert (folder / "LICENSE").read_text().splitlines()[2] == (
        f"Copyright (c) {date.today().year} The authors of treadle-loss-spike"
    )


def test_as_json_it_lists_the_files_and_the_names(treadle, tmp_path: Path) -> None:
    done = treadle("new", "Acme_Spikes", "--folder", tmp_path, "--author", "Ada", "--json")
    made = json.loads(done.out)
    folder = tmp_path / "acme-spikes"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert made == {
        "folder": str(folder),
        "files": sorted(files),
        "distribution": "acme-spikes",
        "package": "acme_spikes",
        "callback": "AcmeSpikes",
        "entry_point": "acme_spikes",
    }
    assert "Copyright (c) " in (folder / "LICENSE").read_text()
    assert " Ada\n" in (folder / "LICENSE").read_text()
    assert files == {
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/acme_spikes/__init__.py",
        "src/acme_spikes/acme_spikes.py",
        "src/acme_spikes/py.typed",
        "tests/test_acme_spikes.py",
        "tests/test_contract.py",
    }


def test_no_name_of_the_scaffold_is_left_and_all_code_can_be_read(treadle, tmp_path: Path) -> None:
    treadle("new", "acme-spikes", "--folder", tmp_path)
    for file in (tmp_path / "acme-spikes").rglob("*"):
        if file.is_file():
            assert not re.search("smallest[-_]loss|SmallestLoss|YEAR", file.read_text())
            if file.suffix == ".py":
                ast.parse(file.read_text())


def test_it_requires_what_is_compatible_with_the_core_that_is_installed(treadle, tmp_path: Path) -> None:
    treadle("new", "acme-spikes", "--folder", tmp_path)
    project = tomllib.loads((tmp_path / "acme-spikes" / "pyproject.toml").read_text())["project"]
    core = Requirement(project["dependencies"][0])
    assert core.name == "treadle-core"
    assert core.specifier.contains(importlib_metadata.version("treadle-core"), prereleases=True)
    assert project["entry-points"]["treadle.callbacks"] == {"acme_spikes": "acme_spikes.acme_spikes:AcmeSpikes"}


@pytest.mark.parametrize(
    ("version", "expected"), [("0.1.0", ">=0.1,<0.2"), ("0.12.3.dev1", ">=0.12,<0.13"), ("2.3.1", ">=2.3,<3")]
)
def test_a_range_is_of_the_minor_version_and_from_1_on_of_the_major_one(version, expected) -> None:
    assert compatible(version) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("treadle-loss-spike", Names("treadle-loss-spike", "treadle_loss_spike", "LossSpike", "loss_spike")),
        ("Acme.Spike2", Names("acme-spike2", "acme_spike2", "AcmeSpike2", "acme_spike2")),
    ],
)
def test_all_names_follow_from_that_of_the_distribution(name, expected) -> None:
    assert checked(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3d", r"'3d' cannot be the name of a distribution\.\n(?=Fix: use letters, digits and hyphens, a letter)"),
        ("a/b", r"'a/b' cannot be the name of a distribution"),
        ("loss spike", r"'loss spike' cannot be the name"),
        ("spike-", r"'spike-' cannot be the name"),
        ("", r"'' cannot be the name"),
        ("treadle-3d", r"would give a module or class called '3d', which is not possible"),
        ("treadle-class", r"would give a module or class called 'class'"),
        ("treadle-callback", r"would give a module or class called 'Callback'"),
        ("json", r"There is a module called 'json' already"),
        ("treadle-cli", r"There is a module called 'treadle_cli' already"),
    ],
)
def test_a_name_that_nothing_can_have_is_refused(treadle, tmp_path: Path, name, message) -> None:
    done = treadle("new", name, "--folder", tmp_path)
    assert (done.status, done.out, list(tmp_path.iterdir())) == (2, "", [])
    assert re.search(message + r"(.|\n)*Fix: (.|\n)*\n    treadle new treadle-loss-spike", done.err)


def test_a_name_that_a_callback_has_already_is_refused_with_its_distribution(treadle, tmp_path, monkeypatch) -> None:
    info = tmp_path / "site" / "other_lab-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[treadle.callbacks]\nspike = other_lab:Spike\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    done = treadle("new", "treadle-spike", "--folder", tmp_path)
    assert done.status == 2
    assert "other-lab has a callback called 'spike' already" in done.err


def test_a_folder_that_exists_is_refused_and_left_as_it_is(treadle, tmp_path: Path) -> None:
    (tmp_path / "acme-spikes").mkdir()
    done = treadle("new", "acme-spikes", "--folder", tmp_path)
    assert (done.status, list((tmp_path / "acme-spikes").iterdir())) == (2, [])
    assert re.search(r"There is '.*acme-spikes' already\.\nFix: remove it, or choose another name", done.err)


def test_where_nothing_can_be_written_it_says_so_and_leaves_nothing(treadle, tmp_path: Path, monkeypatch) -> None:
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    done = treadle("new", "acme-spikes", "--folder", tmp_path)
    assert (done.status, list(tmp_path.iterdir())) == (2, [])
    assert re.search(r"acme-spikes cannot be written: .*No space left on device\nFix: name a folder where", done.err)


def test_a_folder_to_make_it_in_that_does_not_exist_is_refused(treadle, tmp_path: Path) -> None:
    done = treadle("new", "acme-spikes", "--folder", tmp_path / "nowhere")
    assert done.status == 2
    assert re.search(r"There is no folder '.*nowhere'\.\nFix: make it first", done.err)
