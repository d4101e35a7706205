"""docs/flux.md has every name of the seed of treadle-flux, and an example of everything that is public."""

import re
from pathlib import Path

import treadle_flux

PAGE = (Path(__file__).parents[1] / "docs" / "flux.md").read_text(encoding="utf-8")
CODE = "\n".join(re.findall(r"^```(?:python|pycon)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))

# What the training documentation of Flux.jl 0.13 names.
ANCESTOR = [
    *("train!", "params", "Params", "gradient", "update!", "epochs", "throttle", "stop", "skip", "DataLoader", "Chain"),
    *("Dense", "softmax", "Losses", "pullback", "patience", "early_stopping", "plateau", "DomainError", "batchsize"),
    *("shuffle", "partial", "leading", "trailing"),
]


def test_every_name_of_the_ancestor_is_on_the_page() -> None:
    spans = "\n".join(re.findall(r"`([^`\n]+)`", PAGE))
    assert [name for name in ANCESTOR if not re.search(rf"(?<![\w]){re.escape(name)}(?!\w)", spans)] == []


def test_every_public_name_is_used_in_an_example_or_explained() -> None:
    explained = {"Params", "DomainError", "skip"}
    names = set(treadle_flux.__all__)
    assert [name for name in explained if f"`{name}" not in PAGE] == []
    assert sorted(name for name in names - explained if not re.search(rf"\b{name}\b", CODE)) == []
