"""The output and the picture in the README are what its example gives."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "docs/examples/digits.py").read_text(encoding="utf-8")
OUTPUT = re.search(r"^```text\n(Installed callbacks: .*?)^```", README, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def learner_and_output():
    """The example's learner, as it is before it trains, and what was printed by then."""
    before, training, _ = EXAMPLE.partition("learner.fit(")
    assert training
    printed: list[str] = []
    names = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    exec(before, names)
    return names["learner"], "\n".join(printed) + "\n"


def test_the_plan_in_the_readme_is_the_examples_plan(learner_and_output) -> None:
    _, output = learner_and_output
    assert OUTPUT[: len(output)] == output


def test_the_table_in_the_readme_has_a_row_for_each_epoch_and_phase(learner_and_output) -> None:
    _, output = learner_and_output
    header, *rows = OUTPUT[len(output) :].splitlines()
    assert header.split() == ["epoch", "phase", "Loss", "Accuracy"]
    (epochs,) = re.findall(r"learner\.fit\((\d+)\)", EXAMPLE)
    expected = [(n, phase) for n in range(1, int(epochs) + 1) for phase in ("TrainingPhase", "ValidationPhase")]
    assert [(int(row.split()[0]), row.split()[1]) for row in rows] == expected
    assert float(rows[-1].split()[-1]) >= 0.97


def test_the_picture_of_the_plan_is_the_examples_plan(learner_and_output) -> None:
    learner, _ = learner_and_output
    assert (ROOT / "docs/images/digits-plan.svg").read_text(encoding="utf-8") == learner.plan().svg()


def test_the_picture_of_the_curves_is_there() -> None:
    picture = ROOT / "docs/images/digits-curves.png"
    assert f"]({picture.relative_to(ROOT)})" in README
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 50_000
