"""The callbacks of docs/cookbook.md: small, and held to what every callback promises."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from treadle.testing import check_callback

PAGE = (Path(__file__).parents[1] / "docs" / "cookbook.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

#: Each of them: the arguments that it is made with, and the settings of its check.
RECIPES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ClipNorm": ((1.0,), {}),
    "GradientNoise": ((), {}),
    "GradientNorm": ((), {}),
    "GradientHistogram": ((), {}),
    "SpikeGuard": ((), {}),
    "Average": ((), {}),
    "FreezeUntil": (("*weight", 5), {}),
    "WarmUp": ((10,), {}),
    "HalveOnPlateau": ((), {"partners": ["metrics", "recorder"]}),
    "Autocast": (("cpu",), {}),
}


@cache
def definitions() -> dict[str, Any]:
    """What the page imports and the callbacks that it defines."""
    names: dict[str, Any] = {"__name__": "cookbook"}
    for block in BLOCKS:
        kept = [part for part in ast.parse(block).body if isinstance(part, ast.ImportFrom | ast.Import | ast.ClassDef)]
        exec(compile(ast.Module(kept, []), "cookbook.md", "exec"), names)
    return names


def test_the_page_has_ten_recipes_and_each_is_checked_here():
    numbered = re.findall(r"^## (\d+)\. .*?class (\w+)\(Callback\)", PAGE, re.MULTILINE | re.DOTALL)
    assert [int(number) for number, _ in numbered] == list(range(1, 11))
    assert [name for _, name in numbered] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_small(name):
    (source,) = re.findall(rf"^(class {name}\(.*?)\n\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert len([line for line in source.splitlines() if line.strip()]) <= 18


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_keeps_what_every_callback_promises(name):
    arguments, settings = RECIPES[name]
    report = check_callback(lambda: definitions()[name](*arguments), **settings)
    assert report.failed == 0
