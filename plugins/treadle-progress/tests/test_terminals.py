"""The table and the bars on real terminals of several widths, and in notebooks."""

import fcntl
import io
import os
import pty
import re
import struct
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
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    return sys.stdout, sys.stderr


def test_a_notebook_without_widgets_shows_the_bar_as_text_where_the_table_is(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(ProgressPrinter(mininterval=0), nbatches=2).fit(1)
    assert "Epoch 1 TrainingPhase: 100%" in output.getvalue()
    assert errors.getvalue() == ""


def test_a_notebook_shows_no_bar_that_was_switched_off(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {"IPKernelApp": {}})
    toy_learner(ProgressPrinter(show=False), nbatches=2).fit(1)
    assert output.getvalue() + errors.getvalue() == ""


def test_an_interactive_shell_that_is_not_a_notebook_shows_a_bar_only_on_a_terminal(monkeypatch):
    output, errors = streams_of_a_cell(monkeypatch, {})
    toy_learner(ProgressPrinter(), nbatches=2).fit(1)
    assert output.getvalue() + errors.getvalue() == ""
