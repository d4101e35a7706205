"""The documentation keeps what it promises: its examples run, and its reference leaves nothing out."""

import importlib
import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]
# Whatever Markdown or MyST accept as the start of a block of Python, so that no spelling escapes the tests.
PYTHON_FENCE = re.compile(r"^\W*(?:`{3,}|~{3,})\s*(\{?[\w-]*\}?\s*(?:py|ipython).*)$", re.IGNORECASE)


def pages() -> list[Path]:
    """Every Markdown page that a reader may find: the root's, the site's, the distributions'."""
    folders = ["*.md", "docs/**/*.md", "core/*.md", "plugins/*/*.md"]
    return sorted(page for pattern in folders for page in ROOT.glob(pattern))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_is_spelled_so_that_it_runs(page: Path) -> None:
    odd = [line for line in page.read_text().splitlines() if PYTHON_FENCE.match(line)]
    assert [line for line in odd if line.strip() not in ("```python", "```pycon")] == []


def test_there_are_pages_to_check() -> None:
    assert ROOT / "README.md" in pages()
    assert ROOT / "docs" / "index.md" in pages()


@pytest.fixture
def page_tests(pytester: pytest.Pytester):
    """Runs a page with the project's own conftest and answers the outcome."""
    pytester.makeconftest((ROOT / "conftest.py").read_text())

    def run(text: str) -> pytest.RunResult:
        pytester.path.joinpath("page.md").write_text(text)
        return pytester.runpytest("page.md", "-rs", "-p", "no:cacheprovider")

    return run


def test_blocks_of_a_page_share_their_names(page_tests) -> None:
    result = page_tests("```python\nx = 3\n```\n\ntext\n\n```pycon\n>>> x + 1\n4\n```\n")
    result.assert_outcomes(passed=2)


def test_a_wrong_output_fails_its_prompt(page_tests) -> None:
    result = page_tests("```python\n>>> 1 + 1\n3\n>>> 1 + 1\n2\n```\n")
    result.assert_outcomes(failed=1, passed=1)


def test_an_error_in_a_block_fails_it(page_tests) -> None:
    page_tests("```python\nraise ValueError\n```\n").assert_outcomes(failed=1)


def test_a_block_that_is_not_run_says_why(page_tests) -> None:
    result = page_tests("# Title\n\n```python\n# not run: needs two GPUs\nraise ValueError\n```\n")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*page.md:3: needs two GPUs"])


def test_a_page_writes_into_a_folder_of_its_own(page_tests, pytester: pytest.Pytester) -> None:
    page_tests("```python\nopen('left-behind', 'w').close()\n```\n").assert_outcomes(passed=1)
    assert not pytester.path.joinpath("left-behind").exists()


@pytest.mark.parametrize(("page", "module"), [("core", "treadle"), ("authoring", "treadle.authoring")])
def test_every_public_name_of_the_core_is_in_the_reference(page, module) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    chosen = re.findall(rf"^<!-- generated: api {re.escape(module)}: (.*) -->$", text, re.MULTILINE)
    documented = {name.removesuffix(".*") for names in chosen for name in names.split()}
    public = set(importlib.import_module(module).__all__)
    assert sorted(public - documented) == []
    assert sorted(documented - public) == []


@pytest.mark.parametrize("plugin", sorted((ROOT / "plugins").iterdir()), ids=lambda plugin: plugin.name)
def test_every_plugin_has_a_reference_page_in_the_index(plugin: Path) -> None:
    name = plugin.name.removeprefix("treadle-")
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text()
    readme = f"../../plugins/{plugin.name}/README.md"  # which stands there on the site
    assert page.startswith(
        f"# {plugin.name}\n\nWhat it is for, with examples: [its README]({readme}).\n\n## Reference\n"
    )
    assert re.search(rf"^(<!-- generated: api|\.\. automodule::) treadle_{name}\b", page, re.MULTILINE)
    assert f"\nreference/{name}\n" in (ROOT / "docs" / "index.md").read_text()
