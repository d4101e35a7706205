import re
import sys

import pytest
import torch
from treadle import Series, TrainingPhase, ValidationPhase, toy_learner
from treadle.errors import ArgumentValueError
from treadle_metrics import Metrics, MissingExtra, Recorder, SeriesByName, SeriesByPhase


def recorded():
    """Two epochs of training and one of validation, in which alone there is an accuracy."""
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        metrics.of(TrainingPhase()).of("Loss").push(epoch, loss)
    metrics.of(ValidationPhase()).of("Loss").push(1, 0.75)
    metrics.of(ValidationPhase()).of("Accuracy").push(1, 0.875)
    return metrics


def test_a_series_is_made_when_it_is_written_to():
    series = SeriesByName()
    assert isinstance(series.of("Loss"), Series)
    assert series.of("Loss") is series["Loss"]


def test_a_name_that_is_not_there_says_what_is():
    with pytest.raises(KeyError, match=r"Nothing is recorded here as 'Accurcy'\. Did you mean `Accuracy`\?"):
        recorded()[ValidationPhase()]["Accurcy"]


def test_rows_are_ordered_by_epoch_and_phase_and_have_every_column():
    assert recorded().rows() == [
        {"epoch": 1, "phase": "TrainingPhase", "Loss": 0.5, "Accuracy": None},
        {"epoch": 1, "phase": "ValidationPhase", "Loss": 0.75, "Accuracy": 0.875},
        {"epoch": 2, "phase": "TrainingPhase", "Loss": 0.25, "Accuracy": None},
    ]


def test_a_dictionary_holds_lists_by_phase_and_name():
    assert recorded().to_dict()["TrainingPhase"] == {"Loss": {"iterations": [1, 2], "values": [0.5, 0.25]}}


def test_names_that_were_expected_come_first():
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    metrics.of(TrainingPhase()).of("Recall").push(1, 0.5)
    assert metrics.names == ["Loss", "Accuracy", "Recall"]


def test_the_curves_of_a_name_are_those_of_the_phases_that_have_it():
    assert {label: len(series) for label, series in recorded().curves("Loss").items()} == {
        "TrainingPhase": 2,
        "ValidationPhase": 1,
    }
    assert list(recorded().curves("Accuracy")) == ["ValidationPhase"]


def test_a_checkpoint_holds_it_in_plain_values_and_tensors():
    state = recorded().state_dict()
    assert torch.equal(state["treadle.phases:TrainingPhase"]["Loss"]["values"], torch.tensor([0.5, 0.25]).double())
    resumed = SeriesByPhase("epoch")
    resumed.load_state_dict(state)
    assert resumed == recorded()


def test_a_record_that_is_written_to_stays_the_same_object_when_a_state_is_loaded():
    metrics = SeriesByPhase("epoch")
    training = metrics.of(TrainingPhase())
    metrics.load_state_dict(recorded().state_dict())
    assert list(training["Loss"].values) == [0.5, 0.25]


def test_a_csv_file_has_a_column_for_each_metric_and_a_row_for_each_epoch_of_each_phase(tmp_path):
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    metrics.of(TrainingPhase()).of("Loss").push(1, 0.1)
    metrics.of(ValidationPhase()).of("Loss").push(1, 1 / 3)
    metrics.of(ValidationPhase()).of("Accuracy").push(1, 0.5)
    metrics.to_csv(tmp_path / "runs" / "history.csv")
    assert (tmp_path / "runs" / "history.csv").read_text() == (
        "epoch,phase,Loss,Accuracy\n1,TrainingPhase,0.1,\n1,ValidationPhase,0.3333333333333333,0.5\n"
    )


def test_a_csv_file_is_replaced(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("something much longer than a header alone")
    SeriesByPhase("epoch", ["Loss"]).to_csv(str(path))
    assert path.read_text() == "epoch,phase,Loss\n"


def test_steps_are_a_table_as_well():
    learner = toy_learner(Recorder(), Metrics(), nbatches=2)
    learner.fit(1)
    rows = learner.cbstate.metricsstep.rows()
    assert [(row["step"], row["phase"]) for row in rows] == [
        (1, "TrainingPhase"),
        (1, "ValidationPhase"),
        (2, "TrainingPhase"),
        (2, "ValidationPhase"),
    ]
    assert rows[0]["Loss"] == learner.cbstate.metricsstep[TrainingPhase()]["Loss"].values[0]


@pytest.fixture
def drawable():
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy", "Never"])
    for epoch in (1, 2, 3):
        metrics.of(TrainingPhase()).of("Loss").push(epoch, 1 / epoch)
        metrics.of(ValidationPhase()).of("Loss").push(epoch, 2 / epoch)
        metrics.of(ValidationPhase()).of("Accuracy").push(epoch, epoch / 3)
    return metrics


def test_each_metric_has_its_axes_and_each_phase_its_line(drawable):
    figure = drawable.plot()
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["TrainingPhase", "ValidationPhase"]
    assert figure.axes[0].lines[1].get_xydata().tolist() == [[1, 2], [2, 1], [3, 2 / 3]]
    assert figure.axes[0].get_xlabel() == "epoch"


def test_the_picture_is_saved_into_a_folder_that_is_made(drawable, tmp_path):
    path = tmp_path / "runs" / "digits" / "curves.png"
    drawable.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("names", ["Accuracy", ["Accuracy"]])
def test_some_can_be_chosen(drawable, names):
    assert [axes.get_title() for axes in drawable.plot(names=names).axes] == ["Accuracy"]


def test_no_window_is_opened_and_no_figure_kept(drawable, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    drawable.plot()
    assert "matplotlib.pyplot" not in sys.modules


def test_a_curve_that_is_not_there_is_refused_with_a_guess(drawable):
    with pytest.raises(ArgumentValueError, match=r"no curve of 'Acuracy'\. Did you mean `Accuracy`\?"):
        drawable.plot(names=["Acuracy"])


def test_nothing_recorded_draws_no_picture():
    with pytest.raises(
        ArgumentValueError, match=r"Nothing is recorded yet.*\nFix: train first:\n    learner\.fit\(10\)"
    ):
        SeriesByPhase("epoch", ["Loss"]).plot()


def test_without_matplotlib_the_error_says_what_to_install(drawable, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        MissingExtra, match=r'cannot be imported\.\nFix: install it:\n    pip install "treadle-metrics\[plot\]"'
    ):
        drawable.plot()


def test_in_a_notebook_the_records_are_tables():
    recorded = SeriesByPhase("epoch", names=["Loss"])
    assert recorded._repr_html_() == "<table><thead><tr><th>phase</th></tr></thead><tbody></tbody></table>"
    for epoch in (1, 2):
        recorded.of(TrainingPhase()).of("Loss").push(epoch, epoch / 4)
    recorded.of(TrainingPhase()).of("<odd>").push(2, 0.5)
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", recorded._repr_html_())
    assert cells[:4] == ["epoch", "phase", "Loss", "&lt;odd&gt;"]
    assert cells[4:] == ["1", "TrainingPhase", "0.25", "", "2", "TrainingPhase", "0.5", "0.5"]
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", recorded[TrainingPhase()]._repr_html_())
    assert cells == ["iteration", "Loss", "&lt;odd&gt;", "1", "0.25", "", "2", "0.5", "0.5"]
