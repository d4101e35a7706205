"""The table and the curves in the README are what its example gives; docs/generate.py writes the rest."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "docs/examples/digits.py").read_text(encoding="utf-8")


def test_the_table_in_the_readme_has_a_row_for_each_epoch_and_phase() -> None:
    header, *rows = re.search(r"^```text\n(epoch  phase.*?)^```", README, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert header.split() == ["epoch", "phase", "Loss", "Accuracy"]
    (epochs,) = re.findall(r"learner\.fit\((\d+)\)", EXAMPLE)
    expected = [(n, phase) for n in range(1, int(epochs) + 1) for phase in ("TrainingPhase", "ValidationPhase")]
    assert [(int(row.split()[0]), row.split()[1]) for row in rows] == expected
    assert float(rows[-1].split()[-1]) >= 0.97


def test_the_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"^!\[.+\]\((.+)\)$", README, re.MULTILINE)
    assert pictures == ["docs/images/digits-curves.png", "docs/images/digits-plan.svg"]
    assert all((ROOT / picture).stat().st_size < 50_000 for picture in pictures)
