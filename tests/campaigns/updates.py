"""The runs of the campaign of resumes in which the update is changed: every two parts are together in one of them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from setups import Setup
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from by_hand.learner import callbacks_of, in_this_order
from by_hand.recipe import CHANGES, Recipe, model_and_data, optimizer_of

#: What each part can be, in the order of the fields.
CHOICES: dict[str, tuple[Any, ...]] = {
    "precision": ("fp32", "bf16", "fp16"),
    "scale": (2.0**20,),
    "accumulate": (1, 2, 3, 4),
    "weigh": (False, True),
    "changes": ((), CHANGES, CHANGES[::2], CHANGES[1::2]),
    "average": (None, "ema", "swa"),
    "lookahead": (False, True),
    "sam": (False, True),
    "schedule": (False, True),
    "unfreeze": (False, True),
    "adam": (False, True),
}


def pairs(row: tuple[Any, ...]) -> set[Any]:
    return set(combinations(enumerate(row), 2))


def recipes() -> Iterable[Recipe]:
    """Combinations of which every two choices are in one; the best of many that are drawn, one after the other."""
    draw = random.Random(0)
    left = {((i, a), (j, b)) for (i, x), (j, y) in combinations(enumerate(CHOICES.values()), 2) for a in x for b in y}
    while left:
        rows = [tuple(draw.choice(choices) for choices in CHOICES.values()) for _ in range(200)]
        best = max(rows, key=lambda row: len(pairs(row) & left))
        left -= pairs(best)
        yield Recipe(*best)


def setup(number: int, recipe: Recipe) -> Setup:
    """The run of a combination, in a fresh process as in the suite."""
    return Setup(
        f"update {number}",
        lambda folder: callbacks_of(recipe),
        model=lambda: model_and_data()[0],
        data=lambda: model_and_data()[1:],
        optimizer=lambda parameters: optimizer_of(parameters, adam=recipe.adam),
        lossfn=lambda: nn.functional.mse_loss,
        options=lambda: {"resolve": in_this_order(callbacks_of(recipe))},
    )


UPDATES = [setup(number, recipe) for number, recipe in enumerate(recipes(), start=1)]
