"""One module knows on which system it runs, and the sources compile with every Python that is supported."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])

#: What differs from one system to the next, and in `treadle/system.py` alone is not to be found elsewhere.
DIFFERS = {
    "sys.platform",
    "os.name",
    "os.fsync",
    "os.replace",
    "os.rename",
    "os.kill",
    "os.fork",
    "fcntl",
    "msvcrt",
    "resource",
    "winreg",
}
#: glibc's `malloc_trim` is on Linux alone, and what it does is needed nowhere else; MLflow has another rule for the
#: names of metrics on Windows.
EXCEPTIONS = {"garbage_collect.py": {"sys.platform"}, "mlflow_backend.py": {"sys.platform"}}


def names(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, and the attributes of modules that it uses: `os.replace`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_one_module_asks_which_system_it_runs_on() -> None:
    assert len(SOURCES) > 100
    found = {file.name: DIFFERS & set(names(ast.parse(file.read_text(encoding="utf-8")))) for file in SOURCES}
    asking = {name: differs - EXCEPTIONS.get(name, set()) for name, differs in found.items() if differs}
    assert {name for name, differs in asking.items() if differs} == {"system.py"}


def without_encoding(tree: ast.AST) -> Iterator[int]:
    """The lines in which text is read or written as the system's settings have it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = {keyword.arg for keyword in node.keywords}
            owner = getattr(getattr(node.func, "value", None), "id", "")
            binary = any(isinstance(value, ast.Constant) and "b" in str(value.value) for value in node.args[:2])
            if name in ("read_text", "write_text") and "encoding" not in given:
                yield node.lineno
            file = isinstance(node.func, ast.Name) or node.args or node.keywords  # `self.open()` is another thing
            if name == "open" and file and owner not in ("os", "wave") and not binary and "encoding" not in given:
                yield node.lineno


PROGRAMS = sorted(ROOT.glob("docs/examples/**/*.py"))


@pytest.mark.parametrize("file", [*SOURCES, *PROGRAMS], ids=lambda file: file.name)
def test_text_has_one_encoding_on_every_system(file: Path) -> None:
    assert list(without_encoding(ast.parse(file.read_text(encoding="utf-8")))) == []


def test_files_have_names_that_every_system_can_hold_apart() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [name for name in listed.split("\0") if name] or [str(file.relative_to(ROOT)) for file in SOURCES]
    reserved = {"con", "prn", "aux", "nul", *(f"{device}{i}" for device in ("com", "lpt") for i in range(10))}
    parts = {part for name in files for part in name.split("/")}
    assert [part for part in parts if part.split(".")[0].lower() in reserved or set(part) & set('<>:"\\|?*')] == []
    assert len({name.lower() for name in files}) == len(files)


def python(version: str) -> str | None:
    """An interpreter of that version, on the path or beside the one of the tests."""
    beside = Path(sys.base_prefix).parent.glob(f"{version}*/bin/python3")
    for candidate in (shutil.which(f"python{version}"), *map(str, beside)):
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if candidate and subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == version:
            return candidate
    return None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_sources_compile_without_a_warning(version: str) -> None:
    if (interpreter := python(version)) is None:
        pytest.skip(f"Python {version} is not installed here")
    code = "import sys\nfor name in sys.argv[1:]: compile(open(name, encoding='utf-8').read(), name, 'exec')"
    done = subprocess.run(
        [interpreter, "-W", "error", "-c", code, *SOURCES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


#: A script as it has to be where the workers of a loader are started anew, and not forked.
SCRIPT = """
import torch
from torch.utils.data import DataLoader, Dataset
from treadle import Learner, seed_everything
from treadle_checkpoint import Checkpointer
from treadle_metrics import Metrics

class Lines(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.tensor([float(i)]), torch.tensor([3.0 * i])

if __name__ == "__main__":
    seed_everything(1)
    loader = DataLoader(Lines(), batch_size=4, num_workers=1, multiprocessing_context="spawn")
    callbacks = [Metrics(), Checkpointer("run")]
    learner = Learner(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, data=(loader,), callbacks=callbacks)
    print(learner.fit(1).steps)
"""


def test_workers_that_are_started_anew_train_and_save_as_those_that_are_forked(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["2"], done.stderr
    assert [path.name[:10] for path in (tmp_path / "run").iterdir()] == ["checkpoint"]
