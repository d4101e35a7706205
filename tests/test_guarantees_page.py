"""Every test that docs/guarantees.md names exists, and every property there names one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/.-]+\.py)::([\w:]+)`", PAGE)))


@cache
def names_in(path: str) -> set[str]:
    """The names of the tests in a file, as pytest writes them: those in a class after its name."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    classes = [("", tree), *((f"{node.name}::", node) for node in tree.body if isinstance(node, ast.ClassDef))]
    return {
        f"{prefix}{node.name}"
        for prefix, part in classes
        for node in part.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_name_of_a_test_on_the_page_is_read() -> None:
    assert len(re.findall(r"\.py::", PAGE)) == len(re.findall(r"`[\w/.-]+\.py::[\w:]+`", PAGE))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert name in names_in(path)


def test_every_property_names_what_holds_it() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| property |")]
    assert [row for row in rows if ".py::" not in row and "`make bench`" not in row] == []


def test_each_of_the_eight_guarantees_has_a_section() -> None:
    assert re.findall(r"^## (\d)\.", PAGE, re.MULTILINE) == list("12345678")
