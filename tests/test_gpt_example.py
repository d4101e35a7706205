"""The small transformer in docs/examples, by Treadle and by hand: the same bits, in fewer lines."""

import contextlib
import importlib
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from treadle_checkpoint import best, checkpoints, load_model

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "tutorials" / "gpt.md").read_text(encoding="utf-8")


@pytest.fixture
def setting(monkeypatch):
    """The module that both programs import, with less text and three epochs."""
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    module = importlib.import_module("gpt_model")
    monkeypatch.setattr(module, "CHARACTERS", 8000)  # 7 batches of an epoch: one update of 4 and one of 3
    monkeypatch.setattr(module, "EPOCHS", 3)
    return module


def run(name: str, folder: Path) -> dict[str, Any]:
    with contextlib.chdir(folder):
        return runpy.run_path(str(DOCS / "examples" / f"{name}.py"))


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def interrupted(name: str, setting: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of a program that was interrupted in the middle of its second epoch, and then started again."""
    lossfn, calls = setting.lossfn, []

    def power_cut(yhats, ys):
        calls.append(yhats)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return lossfn(yhats, ys)

    monkeypatch.setattr(setting, "lossfn", power_cut)
    with pytest.raises(KeyboardInterrupt):
        run(name, folder)
    return run(name, folder)


def test_both_give_the_same_bits_at_the_end_and_as_the_best(setting, tmp_path):
    ours, theirs = run("gpt", tmp_path), run("gpt_by_hand", tmp_path)
    assert len(ours["training"]) == 7
    assert ours["learner"].progress.updates == theirs["update"] == 3 * 2
    assert same(ours["model"], theirs["model"])
    by_hand = setting.GPT()
    by_hand.load_state_dict(torch.load(tmp_path / "runs/gpt_by_hand/best.pt", weights_only=True))
    assert same(load_model(setting.GPT(), best(tmp_path / "runs/gpt").path), by_hand)
    assert best(tmp_path / "runs/gpt").score.value == pytest.approx(theirs["best"], abs=1e-6)
    assert len(checkpoints(tmp_path / "runs/gpt")) <= 2


@pytest.mark.parametrize("name", ["gpt", "gpt_by_hand"])
def test_started_again_after_an_interrupt_it_ends_as_if_there_had_been_none(name, setting, tmp_path, monkeypatch):
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    whole = run(name, tmp_path / "whole")
    assert same(interrupted(name, setting, tmp_path / "cut", monkeypatch)["model"], whole["model"])


def test_the_page_shows_the_programs_and_counts_their_lines():
    shown = re.findall(r"```{literalinclude} ../examples/(\w+).py", PAGE)
    assert shown == ["gpt", "gpt_by_hand", "gpt_model"]
    sources = [(DOCS / "examples" / f"{name}.py").read_text(encoding="utf-8") for name in shown[:2]]
    lines = [len([line for line in source.splitlines() if line.strip()]) for source in sources]
    assert f"| lines of code | {lines[0]} | {lines[1]} |" in PAGE
