import io
import subprocess
import sys

import pytest
from treadle import (
    Callback,
    CallbackConflictError,
    Series,
    ValidationPhase,
    Write,
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


def test_the_table_and_the_bars_do_not_disturb_each_other(monkeypatch, terminal):
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


def test_without_bold_a_terminal_gets_plain_lines(terminal, scripted):
    epoch(learner_with(file=terminal, rich=False), scripted, [1.0])
    assert terminal.getvalue().splitlines()[0] == "epoch  phase                  Loss"


FIRST_ROW = """
import random, sys
from treadle import toy_learner
from treadle_metrics import Metrics, Recorder
from treadle_progress import MetricsPrinter
learner = toy_learner(Recorder(), Metrics(), MetricsPrinter())
assert "rich" not in sys.modules
random.seed(3)
before = random.getstate()
learner.fit(1)
assert "rich" in sys.modules
assert random.getstate() == before
"""


def test_rich_is_imported_for_the_first_row_and_leaves_the_random_generators_as_they_were():
    done = subprocess.run([sys.executable, "-c", FIRST_ROW], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_file_cannot_take_is_shown_as_a_question_mark(scripted):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    epoch(learner_with(file=file, metrics=Metrics(Metric(lambda yhats, ys: 1.0, name="Fehlermaß"))), ValidationPhase())
    file.seek(0)
    assert file.readline().rstrip("\n").endswith("  Fehlerma?")


def test_a_file_that_cannot_be_written_to_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"got 'table.txt'\.\nFix: .*\n    MetricsPrinter\(file=sys.stdout\)"):
        MetricsPrinter(file="table.txt")


def test_it_needs_metrics():
    with pytest.raises(CallbackConflictError, match=r"cbstate\.metricsepoch"):
        toy_learner(Recorder(), MetricsPrinter())


class OtherMetrics(Callback):
    """Writes what `Metrics` does, in a container of another kind."""

    state_access = {"cbstate.metricsepoch": Write}

    def __init__(self, make):
        self.make = make

    def on_init(self, learner):
        learner.cbstate.metricsepoch = self.make()

    def on_epoch_end(self, learner, phase):
        learner.cbstate.metricsepoch.setdefault(phase, {"Error": Series()})["Error"].push(1, 0.5)


def test_another_record_of_metrics_will_do_if_it_has_names(capsys):
    class Named(dict):
        names = ("Error",)

    toy_learner(Recorder(), OtherMetrics(Named), MetricsPrinter()).fit(1)
    assert capsys.readouterr().out.splitlines() == [
        "epoch  phase                 Error",
        "    1  TrainingPhase        0.5000",
        "    1  ValidationPhase      0.5000",
    ]


def test_a_record_of_metrics_without_names_is_refused_when_a_fit_begins():
    learner = toy_learner(Recorder(), OtherMetrics(dict), MetricsPrinter())
    with pytest.raises(
        ArgumentTypeError, match=r"the dict there has no `names`\.\nFix: keep .*:\n    .*SeriesByPhase\("
    ):
        learner.fit(1)


# Fits by steps.


def rows_of(text):
    return [line.split()[:2] for line in text.splitlines()]


def table_of(length, **options):
    file = io.StringIO()
    learner = toy_learner(Recorder(), Metrics(), MetricsPrinter(file=file), nbatches=4, **options)
    learner.fit(**length)
    return rows_of(file.getvalue())


def test_each_validation_by_steps_has_a_row_and_training_since_the_last_one_another():
    both = [[step, phase] for step in ("3", "6", "9") for phase in ("TrainingPhase", "ValidationPhase")]
    assert table_of({"steps": 10, "validate_every": 3}) == [["step", "phase"], *both]
    assert table_of({"n": 2, "validate_every": 6}) == [
        ["step", "phase"],
        ["6", "TrainingPhase"],
        ["6", "ValidationPhase"],
    ]
    assert table_of({"steps": 5})[1:] == [["5", "TrainingPhase"], ["5", "ValidationPhase"]]


def test_without_validation_a_fit_by_steps_has_a_row_an_epoch():
    assert table_of({"steps": 5, "data": (toy_learner(nbatches=4).data.training,)}) == [
        ["epoch", "phase"],
        ["1", "TrainingPhase"],
        ["2", "TrainingPhase"],
    ]
