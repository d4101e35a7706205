"""A release: built, checked, tried and described, for a part of the distributions; the whole is `make release`."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import treadle

ROOT = Path(__file__).parents[1]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT)
    from release.changelog import changelog
    from release.distributions import ReleaseError, folders, project, refuse_unreleasable, version
    from release.version import compatible_range, set_version


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("release") / "dist"
    chosen = ["--only", "treadle-core", "--only", "treadle-sanity"]
    command = [sys.executable, "-m", "release", "--draft", "--out", str(out), *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_source_archives_and_wheels_of_the_version_are_left_with_the_draft_of_the_changes(released) -> None:
    assert sorted(path.name for path in released[0].iterdir()) == [
        "CHANGELOG.md",
        f"treadle_core-{treadle.__version__}-py3-none-any.whl",
        f"treadle_core-{treadle.__version__}.tar.gz",
        f"treadle_sanity-{treadle.__version__}-py3-none-any.whl",
        f"treadle_sanity-{treadle.__version__}.tar.gz",
    ]


def test_a_source_archive_says_its_version_though_the_file_is_elsewhere(released) -> None:
    with tarfile.open(released[0] / f"treadle_sanity-{treadle.__version__}.tar.gz") as archive:
        metadata = archive.extractfile(f"treadle_sanity-{treadle.__version__}/PKG-INFO").read().decode()
    assert f"\nVersion: {treadle.__version__}\n" in metadata


def test_metadata_and_readmes_were_checked_and_the_new_environment_trained(released) -> None:
    assert released[1].count("PASSED") == 4
    trained = re.search(rf"^{re.escape(treadle.__version__)} (.*)$", released[1], re.MULTILINE)[1]
    assert "environment" in trained
    assert not Path(trained).is_relative_to(ROOT)
    assert "Nothing was uploaded." in released[1]


def test_a_readme_that_an_index_cannot_show_is_refused(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "treadle-odd"\nversion = "1.0"\nreadme = "README.rst"\n'
        "[tool.hatch.build.targets.wheel]\nbypass-selection = true\n"
    )
    (tmp_path / "README.rst").write_text("Odd\n===\n\n.. unknown-directive:: here\n\n`unfinished\n")
    code = (
        "from pathlib import Path\nfrom release.__main__ import build, check\n"
        f"folder = Path({str(tmp_path)!r})\ncheck(build([folder], folder / 'dist'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "`long_description` has syntax errors in markup" in done.stderr


# What may be released, and what changed, in a repository of its own.


def git(repository: Path, *arguments: str) -> None:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *arguments], cwd=repository, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with the core, a plugin and the distribution that brings them."""
    for folder, name, needs in (
        (".", "treadle", '"treadle-core>=0.1,<0.2", "treadle-sanity[plot]>=0.1,<0.2", "rich>=0.1,<0.2"'),
        ("core", "treadle-core", '"torch>=2.5"'),
        ("plugins/treadle-sanity", "treadle-sanity", "\"treadle-core>=0.1,<0.2; python_version > '3'\""),
    ):
        (tmp_path / folder / "src").mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\ndependencies = [{needs}]\n')
    (tmp_path / "core/src/treadle").mkdir()
    (tmp_path / "core/src/treadle/__init__.py").write_text('"""Core."""\n\n__version__ = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## Since 0.1.0\n\nBy hand.\n\n## 0.0.9\n\nEarlier.\n")
    (tmp_path / "README.md").write_text("Requires treadle-core>=0.1,<0.2.\nNothing here.\nThis is 0.1.0.\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "Begin")
    return tmp_path


def commit(repository: Path, subject: str, *files: str) -> None:
    for file in files:
        (repository / file).parent.mkdir(parents=True, exist_ok=True)
        (repository / file).write_text(subject)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", f"{subject}\n\nA reason that stays in the log.")


def test_the_changes_are_those_by_hand_and_the_commits_since_the_last_tag(repository) -> None:
    git(repository, "tag", "v0.0.9")
    commit(repository, "The loop is quicker", "core/src/treadle/loop.py", "README.md")
    commit(repository, "A check more", "plugins/treadle-sanity/src/check.py")
    commit(repository, "Renamed", "core/src/treadle/loop.py", "plugins/treadle-sanity/src/other.py")
    commit(repository, "A page", "docs/page.md")
    text = re.sub(r" \([0-9a-f]{8}\)$", "", changelog(repository), flags=re.MULTILINE)
    assert text.splitlines() == [
        *("# Treadle 0.1.0", "", "By hand.", "", "## Commits since v0.0.9", ""),
        *("### treadle-core", "", "- The loop is quicker", ""),
        *("### treadle-sanity", "", "- A check more", ""),
        *("### Documentation, tests and tools", "", "- A page", ""),
        *("### Several distributions", "", "- Renamed"),
    ]


def test_before_the_first_tag_it_has_every_commit(repository) -> None:
    assert "## Commits since the beginning\n\n### treadle-core\n\n- Begin (" in changelog(repository)


def test_what_is_in_no_commit_is_not_released(repository) -> None:
    refuse_unreleasable(repository)
    (repository / "new.py").write_text("")
    with pytest.raises(ReleaseError, match=r"changes that are in no commit:\n.*new\.py\nFix: commit them, or use --dr"):
        refuse_unreleasable(repository)


def test_a_version_is_released_from_one_commit_alone(repository) -> None:
    git(repository, "tag", "v0.1.0")
    refuse_unreleasable(repository)
    commit(repository, "Later", "README.md")
    with pytest.raises(
        ReleaseError, match=r"v0\.1\.0 is the tag of an earlier commit\.\nFix: raise .*\n    make version"
    ):
        refuse_unreleasable(repository)


def test_without_a_repository_it_is_refused(tmp_path) -> None:
    with pytest.raises(ReleaseError, match=r"`git status --porcelain` failed: .*\nFix: release from a clone"):
        refuse_unreleasable(tmp_path)


def test_an_unknown_distribution_is_refused_with_those_that_there_are() -> None:
    command = [sys.executable, "-m", "release", "--only", "treadle-cor"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"There is no distribution treadle-cor\.\nFix: treadle-core, ", done.stderr)


def test_another_version_is_written_where_it_stands_and_into_the_ranges(repository) -> None:
    shown = set_version("0.2.0", repository)
    assert version(repository) == "0.2.0"
    root, _, sanity = (
        project(folder)["dependencies"] for folder in (folders(repository)[-1], *folders(repository)[:2])
    )
    assert root == ["treadle-core>=0.2,<0.3", "treadle-sanity[plot]>=0.2,<0.3", "rich>=0.1,<0.2"]
    assert sanity == ["treadle-core>=0.2,<0.3; python_version > '3'"]
    assert shown == ["README.md:1: Requires treadle-core>=0.1,<0.2.", "README.md:3: This is 0.1.0."]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("0.1.0", r"0\.1\.0 is not later than 0\.1\.0\.\nFix: pass a later version"),
        ("0.0.3", r"0\.0\.3 is not later than 0\.1\.0\.\nFix: pass a later version"),
        ("", r"'' is not a version\.\nFix: write one as pip does:\n    0\.2\.0"),
        ("next", r"'next' is not a version\.\nFix: write one as pip does:\n    0\.2\.0"),
    ],
)
def test_what_is_not_a_later_version_is_refused(number, message, repository) -> None:
    with pytest.raises(ReleaseError, match=message):
        set_version(number, repository)
    assert version(repository) == "0.1.0"


@pytest.mark.parametrize(
    ("number", "allowed"),
    [
        ("0.1.0", ">=0.1,<0.2"),
        ("0.9.3", ">=0.9,<0.10"),
        ("1.4.2", ">=1.4,<2"),
        ("0.2.0rc1", ">=0.2.0rc1,<0.3"),
        ("2.0.0.dev1", ">=2.0.0.dev1,<3"),
    ],
)
def test_a_range_ends_before_the_next_version_that_may_take_something_away(number, allowed) -> None:
    assert compatible_range(number) == allowed


def test_a_file_without_a_version_is_named(repository) -> None:
    (repository / "core/src/treadle/__init__.py").write_text("")
    with pytest.raises(ReleaseError, match=r"__init__\.py has no version\.\nFix: write a line:\n    __version__ = "):
        version(repository)
