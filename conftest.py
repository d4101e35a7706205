"""Settings of every test, and the collection of the documentation's examples.

Each ```python and ```pycon block of a Markdown page is a test. The blocks of one page share their names
and run in order, in an empty folder. A block that starts with `# not run: <reason>` is skipped with it.
"""

import contextlib
import doctest
import gc
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.abstract import DocTestStringParser
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

# The tests' nets are small: a second thread costs more than it gives. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# Programs, not modules: importing one runs it.
collect_ignore_glob = ["docs/*.py", "docs/examples/*.py", "plugins/treadle-cli/src/treadle_cli/digits.py"]

gc.disable()  # while tests are collected: nothing of it is garbage


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of the collections of garbage: each of them took a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def folder_of_a_docstring(request: pytest.FixtureRequest) -> None:
    """Give a docstring's examples an empty folder to write to."""
    if isinstance(request.node, pytest.DoctestItem):
        request.getfixturevalue("monkeypatch").chdir(request.getfixturevalue("tmp_path"))


NOT_RUN = re.compile(r"# not run: (\S.*)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def skip(example: Example) -> None:
    """Skip a block for the reason that its first line gives."""
    page = Path(example.path).relative_to(Path(__file__).parent)
    pytest.skip(f"{page}:{example.line}: {example.parsed}")


class PythonBlocks:
    """Finds the Python blocks of a page; those that start with a prompt have their output compared."""

    def __init__(self) -> None:
        """Set up the pieces that find and run the blocks."""
        self.find = FencedCodeBlockLexer("(?:python|pycon)")
        self.prompts = DocTestStringParser(DocTestEvaluator(FLAGS))
        self.run = PythonEvaluator()

    def __call__(self, document: Document) -> Iterable[Region]:
        """Yield a region for each block, or for each prompt of a block that has prompts."""
        for block in self.find(document):
            source = block.lexemes["source"]
            if reason := NOT_RUN.match(source):
                yield Region(block.start, block.end, parsed=reason[1], evaluator=skip)
            elif source.startswith(">>>"):
                for prompt in self.prompts(source, document.path):
                    prompt.adjust(block, source)
                    yield prompt
            else:
                yield Region(block.start, block.end, parsed=source, evaluator=self.run)


def enter_page(namespace: dict[str, Any]) -> None:
    """Give a page an empty folder to write to, and a module's name."""
    namespace["__name__"] = "__page__"
    namespace["_page"] = stack = contextlib.ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    stack.enter_context(contextlib.chdir(folder))


def leave_page(namespace: dict[str, Any]) -> None:
    """Remove the page's folder and its names."""
    namespace["_page"].close()
    namespace.clear()


pytest_collect_file = Sybil(parsers=[PythonBlocks()], patterns=["*.md"], setup=enter_page, teardown=leave_page).pytest()
