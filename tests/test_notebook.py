"""The notebook of the docs: its cells run, and what is stored of it, and its page, are what they show."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_its_cells_run_and_show_what_is_stored() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "notebook.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_what_is_stored_has_tables_one_for_each_fit_and_no_place_of_a_machine() -> None:
    text = (DOCS / "tutorials" / "notebook.ipynb").read_text(encoding="utf-8")
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
    kinds = [(output["output_type"], output.get("ename", "")) for output in outputs]
    assert kinds.count(("display_data", "")) == 2  # of two fits, whatever their length
    assert kinds.count(("error", "CallbackConflictError")) == 1
    assert [place for place in (str(ROOT), str(Path.home()), "site-packages") if place in text] == []


def test_a_cell_that_fails_or_shows_something_else_and_a_stale_page_are_found(tmp_path: Path) -> None:
    def cell(source: str, outputs: list[object]) -> dict[str, object]:
        return {"cell_type": "code", "metadata": {}, "source": [source], "outputs": outputs}

    notebook = tmp_path / "odd.ipynb"
    notebook.write_text(json.dumps({"cells": [cell("1 / 0", []), cell("1 + 1", [])]}))
    (tmp_path / "odd.md").write_text("stale")
    program = (
        f"import sys; sys.path.insert(0, {str(DOCS)!r}); from pathlib import Path; import notebook\n"
        f"notebook.NOTEBOOK = Path({str(notebook)!r}); notebook.PAGE = notebook.NOTEBOOK.with_suffix('.md')\n"
        f"sys.exit(notebook.main('--check'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines() == [
        "Code cell 1 fails.",
        "Code cell 1 shows [('error', 'ZeroDivisionError')], stored is another kind.",
        "Code cell 2 shows [('execute_result', ['text/plain'])], stored is another kind.",
        "notebook.md is not the page of notebook.ipynb.",
        "Run: .venv/bin/python docs/notebook.py",
    ]
