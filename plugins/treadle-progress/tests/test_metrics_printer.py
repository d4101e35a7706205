import io
import sys

import pytest
from treadle import (
    CallbackConflictError,
    ValidationPhase,
    epoch,
    toy_learner,
)
from treadle.errors import ArgumentTypeError
from treadle_metrics import Metric, Metrics, Recorder
from treadle_progress import MetricsPrinter, ProgressPrinter


def learner_with(*others, metrics=None, **arguments):
    return toy_learner(Recorder(), metrics or Metrics(), MetricsPrinter(**arguments), *others, nbatches=2)


def shape(text):
    """The lines without the values: the header whole, of a row the epoch and phase."""
    return [line if line.startswith("epoch") else line[:22].strip() for line in text.splitlines()]


def test_each_epoch_has_a_row(capsys, scripted):
    learner = learner_with()
    epoch(learner, scripted, [1.0, 2.0])
    epoch(learner, scripted, [0.25])
    assert capsys.readouterr().out.splitlines() == [
        "epoch  phase                  Loss",
        "    1  Scripted             1.5000",
        "    2  Scripted             0.2500",
    ]


def test_each_fit_has_one_header(capsys):
    learner = learner_with()
    learner.fit(2)
    learner.fit(1)
    assert shape(capsys.readouterr().out) == [
        "epoch  phase                  Loss",
        "1  TrainingPhase",
        "1  ValidationPhase",
        "2  TrainingPhase",
        "2  ValidationPhase",
        "epoch  phase                  Loss",
        "3  TrainingPhase",
        "3  ValidationPhase",
    ]


def test_metrics_of_one_phase_have_their_column_from_the_start(capsys):
    metric = Metric(lambda yhats, ys: 0.125, name="Eighth", phase=ValidationPhase)
    learner_with(metrics=Metrics(metric)).fit(1)
    header, training, validation = capsys.readouterr().out.splitlines()
    assert header == "epoch  phase                  Loss      Eighth"
    assert training.endswith("           -")
    assert validation.endswith("      0.1250")


def test_a_metric_that_is_added_later_gets_a_new_header(capsys, scripted):
    learner = learner_with()
    epoch(learner, scripted, [1.0])
    learner.cbstate.metricsepoch.of(scripted).of("Late").push(2, 7.0)
    epoch(learner, scripted, [2.0])
    assert capsys.readouterr().out.splitlines() == [
        "epoch  phase                  Loss",
        "    1  Scripted             1.0000",
        "epoch  phase                  Loss        Late",
        "    2  Scripted             2.0000      7.0000",
    ]


def test_a_phase_with_a_long_name_gets_a_new_header(capsys, scripted):
    class AnExtraordinarilyLongPhase(type(scripted)):
        pass

    learner = learner_with()
    epoch(learner, scripted, [1.0])
    epoch(learner, AnExtraordinarilyLongPhase(), [1.0])
    epoch(learner, scripted, [1.0])
    assert capsys.readouterr().out.splitlines() == [
        "epoch  phase                  Loss",
        "    1  Scripted             1.0000",
        "epoch  phase                             Loss",
        "    1  AnExtraordinarilyLongPhase      1.0000",
        "    2  Scripted                        1.0000",
    ]


def test_an_epoch_without_a_value_has_dashes(capsys, scripted):
    learner = learner_with()
    epoch(learner, scripted, [1.0])
    epoch(learner, scripted, [None])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    1  Scripted             1.0000",
        "    2  Scripted                  -",
    ]


def test_a_file_is_written_to(capsys, scripted):
    file = io.StringIO()
    epoch(learner_with(file=file), scripted, [1.0])
    assert len(file.getvalue().splitlines()) == 2
    assert capsys.readouterr().out == ""


def test_the_table_and_the_bars_do_not_tear_each_other_up(monkeypatch, terminal):
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    learner_with(ProgressPrinter(mininterval=0), rich=False).fit(2)
    assert len(terminal.frames) == 17
    assert shape("\n".join(terminal.screen)) == [
        "epoch  phase                  Loss",
        "1  TrainingPhase",
        "1  ValidationPhase",
        "2  TrainingPhase",
        "2  ValidationPhase",
    ]


def test_a_row_finds_room_below_the_bar_of_an_epoch_around_it(monkeypatch, terminal, scripted):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            if batch == 2.0:
                epoch(learner, scripted, [batch])

    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    learner = learner_with(ProgressPrinter(mininterval=0), rich=False)
    epoch(learner, Outer(), [1.0, 2.0, 3.0])
    rows = [line for line in terminal.screen if line.startswith(("epoch", "    "))]
    assert rows == [
        "epoch  phase                  Loss",
        "    1  Scripted             2.0000",
        "    1  Outer                2.0000",
    ]


def test_on_a_terminal_rich_prints_the_header_in_bold(terminal, scripted):
    epoch(learner_with(file=terminal), scripted, [1.0])
    header, row = terminal.getvalue().splitlines()
    assert header == "\x1b[1mepoch  phase                  Loss\x1b[0m"
    assert row == "    1  Scripted             1.0000"


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch, terminal, scripted):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    epoch(learner_with(file=terminal), scripted, [1.0])
    assert terminal.getvalue().splitlines()[0] == "epoch  phase                  Loss"


def test_rich_that_is_asked_for_and_not_there_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with pytest.raises(ArgumentTypeError, match="pip install rich"):
        MetricsPrinter(rich=True)


def test_a_file_that_cannot_be_written_to_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"got 'table.txt': MetricsPrinter\(file=sys.stdout\)"):
        MetricsPrinter(file="table.txt")


def test_it_needs_metrics():
    with pytest.raises(CallbackConflictError, match=r"cbstate\.metricsepoch"):
        toy_learner(Recorder(), MetricsPrinter())
