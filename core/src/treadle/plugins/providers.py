"""Which installed callback would write an entry of `cbstate`: read from source, without importing."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from treadle.access import overlaps
from treadle.plugins.discovery import Plugin, installed
from treadle.plugins.metadata import CALLBACKS


def providers(path: str) -> list[Plugin]:
    """The installed callbacks whose class declares in its source that it writes a path.

    Nothing is imported: the class's `state_access` is read where it is written out as a dictionary.
    """
    return [
        plugin
        for plugin in installed(CALLBACKS)
        if not plugin.disabled and any(overlaps(path, written) for written in written_paths(plugin.value))
    ]


def written_paths(value: str) -> set[str]:
    """The paths that the class `module:Class` declares `Write` in its source; empty if not to be found."""
    module, _, name = value.partition(":")
    for _ in range(8):  # a class may be re-exported a few times
        file = source_file(module)
        tree = parsed(file, file.stat().st_mtime_ns) if file is not None else None
        if file is None or tree is None:
            return set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return set(_written(node))
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        origin = _imported_from(tree, package, name)
        if origin is None:
            return set()
        module, name = origin
    return set()


def source_file(module: str) -> Path | None:
    """The file of a module, which is not imported to find it."""
    root, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    if rest:
        stem = file.parent.joinpath(*rest)
        file = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
    return file if file.is_file() else None


@functools.lru_cache(maxsize=256)
def parsed(file: Path, modified: int) -> ast.Module | None:
    """The syntax tree of a file as it was modified last; None if it cannot be read."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None


def _written(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            targets: list[ast.expr] = [statement.target]
        elif isinstance(statement, ast.Assign):
            targets = statement.targets
        else:
            continue
        value = statement.value
        if isinstance(value, ast.Dict) and any(getattr(t, "id", None) == "state_access" for t in targets):
            for key, permission in zip(value.keys, value.values, strict=True):
                permission_name = getattr(permission, "id", getattr(permission, "attr", None))
                if isinstance(key, ast.Constant) and permission_name == "Write":
                    yield str(key.value)


def _imported_from(tree: ast.Module, package: str, name: str) -> tuple[str, str] | None:
    """Where a module of a package got a name from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    above = package.split(".")[: -(node.level - 1) or None] if node.level else []
                    return ".".join([*above, *([node.module] if node.module else [])]), alias.name
    return None
