"""Execute docs/tutorials/notebook.ipynb and write its outputs and its page: `python docs/notebook.py`.

With `--check` nothing is written: it says which cells fail, show something of another kind than what is stored, or
stand otherwise on the page. The cells run in IPython's shell, which shows what a kernel would, without a server.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

NOTEBOOK = Path(__file__).parent / "tutorials" / "notebook.ipynb"
PAGE = NOTEBOOK.with_suffix(".md")
NOTICE = "<!-- Written by docs/notebook.py from notebook.ipynb. Do not edit it by hand. -->"
RAISES = "raises-exception"  # the tag of a cell that is to fail


def main(*arguments: str) -> int:
    """Execute the notebook and write it and its page, or with `--check` say what differs."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    problems = []
    shell = Shell.instance()
    for number, cell in enumerate(cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
        outputs = shell.execute("".join(cell["source"]))
        failed = any(output["output_type"] == "error" for output in outputs)
        if failed != (RAISES in cell["metadata"].get("tags", ())):
            problems.append(f"Code cell {number + 1} {'fails' if failed else 'does not fail'}.")
        if [kind(output) for output in outputs] != [kind(output) for output in cell["outputs"]]:
            problems.append(f"Code cell {number + 1} shows {[*map(kind, outputs)]}, stored is another kind.")
        cell["outputs"], cell["execution_count"] = outputs, number + 1
    if arguments == ("--check",):
        stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
        if PAGE.read_text(encoding="utf-8") != page(stored):
            problems.append("notebook.md is not the page of notebook.ipynb.")
        print(*problems, *(["Run: .venv/bin/python docs/notebook.py"] if problems else []), sep="\n")
        return bool(problems)
    NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(notebook), encoding="utf-8")
    return 0


class Results(DisplayHook):
    """Keeps the result of a cell, and prints nothing."""

    def write_output_prompt(self) -> None: ...

    def write_format_data(self, format_dict: dict[str, str], md_dict: Any = None) -> None:
        self.shell.results.append(format_dict)

    def finish_displayhook(self) -> None: ...


class Shell(InteractiveShell):
    """Runs cells and keeps what they show, as notebooks keep it."""

    displayhook_class = Results

    def __init__(self) -> None:
        super().__init__(config=Config({"HistoryManager": {"enabled": False}}))
        self.config.IPKernelApp = Config()  # by which libraries know the shell of a notebook
        self.results: list[dict[str, str]] = []
        self.errors: list[dict[str, Any]] = []

    def execute(self, source: str) -> list[dict[str, Any]]:
        """The outputs of a cell. Of what was shown in one place, the last is left; what goes to stderr is not kept."""
        self.display_pub, self.results, self.errors = CapturingDisplayPublisher(), [], []
        with capture_output(display=False) as captured:
            self.run_cell(source, store_history=True)
        shown: dict[Any, dict[str, Any]] = {}
        for i, display in enumerate(self.display_pub.outputs):
            shown[(display.get("transient") or {}).get("display_id", i)] = display["data"]
        outputs: list[dict[str, Any]] = []
        if captured.stdout:
            outputs.append(
                {"name": "stdout", "output_type": "stream", "text": captured.stdout.splitlines(keepends=True)}
            )
        outputs += [as_output("display_data", data) for data in shown.values() if any(data.values())]
        outputs += [{"execution_count": None, **as_output("execute_result", result)} for result in self.results]
        return outputs + self.errors

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        error = {"ename": etype.__name__, "evalue": str(evalue), "output_type": "error", "traceback": stb}
        self.errors.append(error)


def as_output(output_type: str, data: dict[str, str]) -> dict[str, Any]:
    """What was shown, as a notebook keeps it."""
    lines = {mime: text.splitlines(keepends=True) for mime, text in data.items()}
    return {"data": lines, "metadata": {}, "output_type": output_type}


def kind(output: dict[str, Any]) -> tuple[Any, ...]:
    """Of what kind an output is."""
    return output["output_type"], output.get("name") or output.get("ename") or sorted(output["data"])


def page(notebook: dict[str, Any]) -> str:
    """The notebook as a page in Markdown."""
    return "\n\n".join([NOTICE, *(part for cell in notebook["cells"] for part in parts(cell))]) + "\n"


def parts(cell: dict[str, Any]) -> Iterator[str]:
    """What stands of a cell on the page. One that is to fail is no example that the tests of pages run."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```{'text' if RAISES in cell['metadata'].get('tags', ()) else 'python'}\n{source}\n```"
    for output in cell["outputs"]:
        if output["output_type"] in ("stream", "error"):
            yield f"```text\n{''.join(output.get('text') or output['traceback']).strip()}\n```"
        elif "text/html" in output["data"]:
            yield "".join(output["data"]["text/html"])
        else:
            yield f"```text\n{''.join(output['data']['text/plain'])}\n```"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
