"""Notebooks: whether the output is one's, and what is drawn again in its place. No ipywidgets are needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from uuid import uuid4


def in_notebook() -> bool:
    """Whether the output is that of a notebook's cell."""
    shell = shell_of_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def shell_of_ipython() -> Any:
    """What runs the cells, or None outside of IPython."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


class Shown:
    """Something that a notebook shows below a cell; when it is shown again there, it replaces what was shown."""

    def __init__(self) -> None:
        self._id: str | None = None
        self._cell: int | None = None

    def show(self, data: Mapping[str, str]) -> None:
        """Show it.

        Args:
            data: What is shown, by its MIME type.
        """
        display = import_module("IPython.display").display  # no requirement: in a notebook it is there
        cell = getattr(shell_of_ipython(), "execution_count", None)
        update = self._id is not None and self._cell == cell
        if not update:
            self._id, self._cell = uuid4().hex, cell
        display(data, raw=True, display_id=self._id, update=update)
