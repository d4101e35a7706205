"""The rooms of the core: imports point one way, and a folder is small enough to be read at once."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import treadle

CORE = Path(treadle.__file__).parent

#: The rooms from the top down: each may import itself and whatever stands below it.
ROOMS = [
    "testing",
    "authoring",
    "learner",
    "dispatch",
    "ordering",
    "plugins",
    "throttle",
    "callback",
    "phases",
    "loop",
    "state",
    "operations",
    "events",
    "access",
    "arguments",
    "errors",
    "system",
]

#: What any room may import for type checkers alone: an annotation has to name who is called.
NAMED_IN_ANNOTATIONS = {"Learner", "Callback", "Phase", "Handle"}

FILES = sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a module: "ordering" for "treadle.ordering.graph", "" for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(tree: ast.AST, *, checked_only: bool = False) -> Iterator[tuple[str, str, bool]]:
    """Every import of the core in a file, wherever it stands: module, name, whether only type checkers see it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                yield "a relative module", ".".join(alias.name for alias in node.names), False
            elif node.module == "treadle":
                for alias in node.names:
                    yield f"treadle.{alias.name}", alias.name, checked_only
            elif str(node.module).startswith("treadle."):
                for alias in node.names:
                    yield str(node.module), alias.name, checked_only
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "treadle":
                    yield alias.name, "", checked_only
        elif isinstance(node, ast.If):
            for statement in node.body:
                block = ast.Module([statement], [])
                yield from imports(block, checked_only=checked_only or ast.unparse(node.test) == "TYPE_CHECKING")
            yield from imports(ast.Module(node.orelse, []), checked_only=checked_only)
        else:
            yield from imports(node, checked_only=checked_only)


def wrong_arrows(file: str, source: str) -> list[str]:
    """The imports of a file of the core that do not point down."""
    room = file.removesuffix(".py").partition("/")[0]
    if room == "__init__":  # the face of the package shows whatever there is
        return []
    if room not in ROOMS:
        return [f"{file} is in no room: give it one in test_rooms.py, or move it"]
    wrong = []
    for module, name, checked_only in imports(ast.parse(source)):
        target = room_of(module)
        if target not in ROOMS:
            wrong.append(f"{file} imports {name or module} from {module}, which is in no room: name the module itself")
        elif ROOMS.index(target) < ROOMS.index(room) and not (checked_only and name in NAMED_IN_ANNOTATIONS):
            wrong.append(f"{file} imports {name or 'all'} of {module}: {room} stands below {target}")
    return wrong


@pytest.mark.parametrize("file", FILES)
def test_imports_point_down_the_list_of_rooms(file) -> None:
    assert wrong_arrows(file, (CORE / file).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("file", "source", "arrows"),
    [
        ("ordering/plan.py", "from treadle.errors import Problem", []),
        ("ordering/plan.py", "from treadle.ordering.graph import Ordering", []),
        ("loop/loop.py", "if TYPE_CHECKING:\n    from treadle.learner import Learner", []),
        ("__init__.py", "from treadle.testing.toy import toy_learner", []),
        (
            "loop/loop.py",
            "from treadle.ordering.graph import Ordering",
            ["loop/loop.py imports Ordering of treadle.ordering.graph: loop stands below ordering"],
        ),
        (
            "access.py",
            "def f():\n    import treadle.events",
            ["access.py imports all of treadle.events: access stands below events"],
        ),
        (
            "state/views.py",
            "if TYPE_CHECKING:\n    from treadle.loop.loop import Scope",
            ["state/views.py imports Scope of treadle.loop.loop: state stands below loop"],
        ),
        (
            "state/views.py",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from treadle.learner import Learner",
            ["state/views.py imports Learner of treadle.learner: state stands below learner"],
        ),
        (
            "learner.py",
            "from treadle.testing import toy_learner",
            ["learner.py imports toy_learner of treadle.testing: learner stands below testing"],
        ),
        (
            "loop/loop.py",
            "from treadle import Callback",
            [
                "loop/loop.py imports Callback from treadle.Callback, which is in no room: name the module itself",
            ],
        ),
        (
            "loop/loop.py",
            "from .result import FitResult",
            [
                "loop/loop.py imports FitResult from a relative module, which is in no room: name the module itself",
            ],
        ),
        ("helpers.py", "", ["helpers.py is in no room: give it one in test_rooms.py, or move it"]),
    ],
)
def test_an_arrow_that_is_wrong_is_named(file, source, arrows) -> None:
    assert wrong_arrows(file, source) == arrows


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != "__pycache__"}


def test_a_folder_has_at_most_ten_entries() -> None:
    folders = {path.parent for path in CORE.rglob("*.py")} - {CORE}
    assert [folder.relative_to(CORE).as_posix() for folder in sorted(folders) if len(entries(folder)) > 10] == []


def test_the_top_level_is_the_rooms() -> None:
    present = {name.removesuffix(".py") for name in entries(CORE) - {"__init__.py", "py.typed"}}
    assert present <= set(ROOMS)
    assert len(ROOMS) <= 17


def test_importing_treadle_loads_no_library_that_is_needed_rarely() -> None:
    program = "import sys, treadle; print({'importlib_metadata', 'loguru', 'networkx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
