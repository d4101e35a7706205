"""First-party plugins import public names alone: the proof that third parties can do what they do."""

import ast
from pathlib import Path

import pytest
import treadle

PLUGINS = Path(__file__).parents[1] / "plugins"

PUBLIC = {"treadle"} | {
    f"treadle.{name}" for name in ("access", "authoring", "errors", "events", "operations", "phases", "plugins")
}


def imported(source: str) -> set[str]:
    """The modules of the core that a file imports, wherever the import stands; a submodule by its own name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"treadle.{alias.name}" for alias in node.names} if node.module == "treadle" else set()
            found |= {node.module} | {name for name in names if name.partition(".")[2] not in treadle.__all__}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "treadle"}


def private(file: Path) -> set[str]:
    """What a file of a plugin imports of the core that is not public.

    Its tests may use `treadle.testing`, too, and so may what it offers to the tests of others.
    """
    about_tests = {"tests", "testing"} & set(file.relative_to(PLUGINS).parts)
    allowed = PUBLIC | {"treadle.testing"} if about_tests else PUBLIC
    return imported(file.read_text(encoding="utf-8")) - allowed


FILES = sorted([*PLUGINS.glob("*/src/**/*.py"), *PLUGINS.glob("*/tests/**/*.py")])


def test_plugins_import_public_names_alone() -> None:
    assert len(FILES) > 100
    found = {file.relative_to(PLUGINS).as_posix(): names for file in FILES if (names := private(file))}
    assert found == {}


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("from treadle import Callback, throttle", {"treadle"}),
        ("from treadle import learner", {"treadle", "treadle.learner"}),
        ("from treadle.authoring import handles", {"treadle.authoring"}),
        ("def f():\n    import treadle.ordering.graph", {"treadle.ordering.graph"}),
        ("if TYPE_CHECKING:\n    from treadle.loop.progress import Progress", {"treadle.loop.progress"}),
        ("import treadle_metrics\nfrom treadle_metrics import Recorder\nfrom . import x", set()),
    ],
)
def test_an_import_is_seen_wherever_it_stands(source, modules) -> None:
    assert imported(source) == modules
