"""A learner of a user's script, which is imported and not run."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from treadle import CallbackConflictError, Learner
from treadle.authoring import did_you_mean

from treadle_cli.output import fail


def learner_of(text: str) -> Learner:
    """The learner that `script.py:name` means: the object of that name, or what it returns if it is a function.

    Raises:
        CallbackConflictError: if the script's callbacks conflict.
    """
    path, _, name = text.rpartition(":")
    if not path:
        fail(
            f"{text!r} does not say which learner of the script is meant.\n"
            f"Fix: name it, or a function without arguments that returns it:\n    treadle plan {text}:learner"
        )
    file = Path(path).resolve()
    if not file.is_file():
        fail(f"There is no script {path!r}.\nFix: correct the path, which is seen from {Path.cwd()}.")
    module = run(file, lambda: imported(file))
    found = getattr(module, name, None)
    if found is None:
        names = [key for key, value in vars(module).items() if isinstance(value, Learner) or defined(value, module)]
        guess = did_you_mean(name, names) if names else ""
        fail(
            f"{path} has no {name!r}. {guess}".rstrip() + f"\nFix: name a learner, or a function that returns one:\n"
            f"    treadle plan {path}:{names[0] if names else 'learner'}"
        )
    if callable(found) and not isinstance(found, Learner):
        try:
            inspect.signature(found).bind()
        except TypeError as error:
            fail(
                f"{path}:{name} cannot be called without arguments: {error}.\n"
                f"Fix: name a function that makes the learner by itself:\n    def make_learner(): return {name}(...)"
            )
        found = run(file, found)
        name = f"{name}()"
    if not isinstance(found, Learner):
        fail(
            f"{path}:{name} has the type {type(found).__name__}, and is not a Learner.\n"
            f"Fix: name a learner, or a function without arguments that returns one."
        )
    return found


def defined(value: Any, module: ModuleType) -> bool:
    """Whether something is a function that a module defines."""
    return inspect.isfunction(value) and value.__module__ == module.__name__


def imported(file: Path) -> ModuleType:
    """The script as a module, which finds what is beside it as it does when it is run."""
    name = file.stem if file.stem not in sys.modules else f"{file.stem}_script"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    sys.argv = [str(file)]
    spec.loader.exec_module(module)
    return module


def run(file: Path, call: Any) -> Any:
    """Call what is the script's; what it prints goes to stderr, and where it fails its own traceback is shown."""
    from contextlib import redirect_stdout

    try:
        with redirect_stdout(sys.stderr):
            return call()
    except CallbackConflictError:
        raise
    except SystemExit as error:
        fail(
            f"{file.name} ended the program (SystemExit: {error}) when it was imported.\n"
            f'Fix: let it do so only where it is run:\n    if __name__ == "__main__":',
            1,
        )
    except Exception as error:
        frames = error.__traceback__
        while frames is not None and Path(frames.tb_frame.f_code.co_filename) != file:
            frames = frames.tb_next
        traceback.print_exception(type(error), error, frames)
        print(f"Error: {file.name} failed, as shown above.", file=sys.stderr)
        raise typer.Exit(1) from None
