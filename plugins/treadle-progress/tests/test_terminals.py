"""The table and the bars on real terminals of several widths, and in notebooks."""

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import types
import unicodedata

import pytest
from treadle import toy_learner
from treadle_metrics import Metric, Metrics, Recorder
from treadle_progress import MetricsPrinter, ProgressPrinter


class PseudoTerminal:
    """A terminal of the system with a number of columns; `text` is what was written to it."""

    def __init__(self, columns):
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        self.file = os.fdopen(writer, "w", encoding="utf-8")
        self._reader, self._parts = reader, []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        try:
            while part := os.read(self._reader, 65536):
                self._parts.append(part)
        except OSError:  # the other end was closed
            pass

    @property
    def text(self):
        self.file.close()
        self._thread.join()
        return b"".join(self._parts).decode()


def width(line):
    line = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line)
    wide = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)
    return wide - sum(unicodedata.category(character) in ("Mn", "Me") for character in line)


def train(file):
    metrics = [Metric(lambda yhats, ys: 0.5, name=name) for name in ("精度", "pre\u0301cision", "Mean squared error")]
    printers = [MetricsPrinter(file=file), ProgressPrinter(file=file, mininterval=0, leave=True)]
    toy_learner(Recorder(), Metrics(*metrics), *printers, nbatches=3).fit(2)


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_nothing_is_wider_than_the_terminal(columns):
    terminal = PseudoTerminal(columns)
    train(terminal.file)
    written = re.split(r"[\r\n]+|\x1b\[A", terminal.text)
    assert max(map(width, written)) <= columns
    assert max(map(width, written)) >= min(columns, 60) - 1  # there is a bar
    assert sum(line.count("0.5000") for line in written) == 3 * 2 * 2


@pytest.mark.parametrize(("columns", "rows"), [(40, 0), (80, 4)])
def test_an_epoch_has_a_row_where_there_is_room_for_it(columns, rows):
    terminal = PseudoTerminal(columns)
    train(terminal.file)
    assert len(re.findall(r"\n? +\d  \w+Phase +[\d.]+ +0\.5000 +0\.5000 +0\.5000", terminal.text)) == rows


def test_a_file_gets_whole_rows():
    file = io.StringIO()
    names = [f"A metric with a long name, number {i}" for i in range(20)]
    metrics = [Metric(lambda yhats, ys: 0.5, name=name) for name in names]
    toy_learner(Recorder(), Metrics(*metrics), MetricsPrinter(file=file), nbatches=2).fit(1)
    header, *rows = file.getvalue().splitlines()
    assert header.endswith("  ".join(names))
    assert len(rows) == 2
    assert {len(row) for row in rows} == {len(header)}


def streams_of_a_cell(monkeypatch, config):
    """The output and the error stream of a cell of IPython, which shows its configuration."""
    shell = types.SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    cell = types.SimpleNamespace(shown=[])
    cell.display = lambda data, *, raw, display_id, update=False: cell.shown.append((display_id, update, data))
    monkeypatch.setitem(sys.modules, "IPython.display", cell)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    return sys.stdout, sys.stderr


def test_a_notebook_shows_one_bar_that_is_drawn_again_and_removed(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(ProgressPrinter(mininterval=0), nbatches=2).fit(2)
    shown = sys.modules["IPython.display"].shown
    assert [update for _, update, _ in shown] == [False] + [True] * (len(shown) - 1)
    assert len({identifier for identifier, _, _ in shown}) == 1
    texts = [data["text/plain"] for _, _, data in shown]
    assert any(text.startswith("Epoch 2 TrainingPhase: 100%") for text in texts)
    bars = [data["text/html"] for _, _, data in shown]
    assert any(
        re.fullmatch(r'<progress value="1" max="2"></progress> <code>Epoch 1 Train.*</code>', bar) for bar in bars
    )
    assert shown[-1][2] == {"text/html": "", "text/plain": ""}
    assert output.getvalue() + errors.getvalue() == ""


def test_in_another_cell_of_a_notebook_the_bar_is_drawn_there(monkeypatch):
    streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    learner = toy_learner(ProgressPrinter(mininterval=0), nbatches=2)
    learner.fit(1)
    sys.modules["IPython"].get_ipython().execution_count = 2
    learner.fit(1)
    assert len({identifier for identifier, _, _ in sys.modules["IPython.display"].shown}) == 2


def test_a_bar_that_stays_has_a_place_of_its_own_in_a_notebook(monkeypatch):
    streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(ProgressPrinter(leave=True), nbatches=2).fit(1)
    last = {identifier: data["text/plain"] for identifier, _, data in sys.modules["IPython.display"].shown}
    assert [text[:28] for text in last.values()] == ["Epoch 1 TrainingPhase: 100%|", "Epoch 1 ValidationPhase: 100"]


def test_a_notebook_shows_no_bar_that_was_switched_off(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(ProgressPrinter(show=False), nbatches=2).fit(1)
    assert output.getvalue() + errors.getvalue() == ""


def test_an_interactive_shell_that_is_not_a_notebook_shows_a_bar_only_on_a_terminal(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {})
    toy_learner(ProgressPrinter(), nbatches=2).fit(1)
    assert output.getvalue() + errors.getvalue() == ""


def cells_of(html):
    return [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_a_notebook_shows_one_table_that_grows_in_its_place(monkeypatch):
    output, _ = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    learner = toy_learner(Recorder(), Metrics(), MetricsPrinter(), nbatches=2)
    learner.fit(1)
    shown = sys.modules["IPython.display"].shown
    (first, updated, data), (second, updated_then, data_then) = shown
    assert (first == second, updated, updated_then, output.getvalue()) == (True, False, True, "")
    assert cells_of(data["text/html"])[0] == ["epoch", "phase", "Loss"]
    assert [row[:2] for row in cells_of(data_then["text/html"])[1:]] == [
        ["1", "TrainingPhase"],
        ["1", "ValidationPhase"],
    ]
    assert data_then["text/plain"].splitlines()[0] == "epoch  phase                  Loss"
    learner.fit(1)
    assert shown[2][:2] != (first, True)  # another fit has a table of its own
    assert shown[2][1] is False


def test_the_table_of_a_long_fit_stays_short_in_a_notebook(monkeypatch):
    streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(Recorder(), Metrics(), MetricsPrinter(), nbatches=1).fit(30)
    _, _, data = sys.modules["IPython.display"].shown[-1]
    rows = cells_of(data["text/html"])
    assert (len(rows), rows[11], rows[-1][0]) == (1 + 20 + 1, ["&#8942; 40 more"], "30")
    assert len(data["text/plain"].splitlines()) == 1 + 20


def test_with_a_file_a_notebook_gets_lines(monkeypatch):
    output, _ = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(Recorder(), Metrics(), MetricsPrinter(file=sys.stdout), nbatches=1).fit(1)
    assert len(output.getvalue().splitlines()) == 3
    assert sys.modules["IPython.display"].shown == []


def test_neither_ipywidgets_nor_a_warning_of_them_is_loaded_in_a_notebook():
    program = (
        "import sys, types, warnings, torch; warnings.simplefilter('error')\n"  # torch warns where there is no NumPy
        "shell = types.SimpleNamespace(config={'IPKernelApp': {}})\n"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: shell)\n"
        "import treadle_progress\n"
        "assert not {'ipywidgets', 'tqdm.notebook'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
