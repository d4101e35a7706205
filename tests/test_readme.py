"""The README is short, and the page of the demo shows what the demo gives; docs/generate.py writes the rest."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = (ROOT / "docs/demo.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "plugins/treadle-cli/src/treadle_cli/digits.py").read_text(encoding="utf-8")


def pictures(text: str) -> list[str]:
    return re.findall(r"^!\[.+\]\((.+)\)$", text, re.MULTILINE)


def test_the_readme_is_read_in_a_minute() -> None:
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert (len(README.splitlines()) <= 100, len(prose.split()) <= 400) == (True, True)


def test_its_example_has_ten_lines_beside_the_imports() -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    code = [line for line in example.splitlines() if line and not re.match("(from|import) ", line)]
    assert len(code) <= 10


def test_the_install_line_brings_what_the_example_imports() -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    modules = set(re.findall(r"^(?:from|import) (\w+)", example, re.MULTILINE))
    ours = {path.name for path in ROOT.glob("*/src/*") if path.is_dir()} | {
        path.name for path in ROOT.glob("plugins/*/src/*") if path.is_dir()
    }
    (line,) = re.findall(r"^\$ pip install (.*)$", README, re.MULTILINE)
    others = {"torch": "./core", "sklearn": "scikit-learn"}  # torch comes with the core
    assert {others[module] for module in modules - ours} | {"./core", "./plugins/*"} == set(line.split())


def test_the_table_of_the_demo_has_a_row_for_each_epoch_and_phase() -> None:
    header, *rows = re.search(r"^```text\n(epoch  phase.*?)^```", DEMO, re.DOTALL | re.MULTILINE)[1].splitlines()
    assert header.split() == ["epoch", "phase", "Loss", "Accuracy"]
    (epochs,) = re.findall(r"learner\.fit\((\d+)\)", EXAMPLE)
    expected = [(n, phase) for n in range(1, int(epochs) + 1) for phase in ("TrainingPhase", "ValidationPhase")]
    assert [(int(row.split()[0]), row.split()[1]) for row in rows] == expected
    assert float(rows[-1].split()[-1]) >= 0.97


def test_the_pictures_are_there_and_small() -> None:
    assert pictures(README) == ["docs/images/plan.svg"]
    assert pictures(DEMO) == ["images/digits-curves.png", "images/digits-plan.svg"]
    found = [ROOT / picture for picture in pictures(README)] + [ROOT / "docs" / picture for picture in pictures(DEMO)]
    assert all(picture.stat().st_size < 50_000 for picture in found)
