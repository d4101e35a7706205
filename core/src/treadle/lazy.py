"""Modules that are loaded when something of them is used, so that `import treadle` stays quick."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType


def lazily(name: str) -> ModuleType:
    """A module that is executed at the first look at one of its attributes.

    Args:
        name: The module's full name.

    Example:
        >>> lazily("fractions").Fraction(1, 2)
        Fraction(1, 2)
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    spec.loader = loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module
