import sys

import pytest
from treadle import TrainingPhase, ValidationPhase
from treadle.errors import ArgumentValueError
from treadle_metrics import ByPhase, History, MissingExtra, SeriesByPhase


@pytest.fixture
def recorded():
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy", "Never"])
    for epoch in (1, 2, 3):
        metrics.of(TrainingPhase()).of("Loss").push(epoch, 1 / epoch)
        metrics.of(ValidationPhase()).of("Loss").push(epoch, 2 / epoch)
        metrics.of(ValidationPhase()).of("Accuracy").push(epoch, epoch / 3)
    return metrics


def test_each_metric_has_its_axes_and_each_phase_its_line(recorded):
    figure = recorded.plot()
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["TrainingPhase", "ValidationPhase"]
    assert figure.axes[0].lines[1].get_xydata().tolist() == [[1, 2], [2, 1], [3, 2 / 3]]
    assert figure.axes[0].get_xlabel() == "epoch"


def test_the_picture_is_saved_into_a_folder_that_is_made(recorded, tmp_path):
    path = tmp_path / "runs" / "digits" / "curves.png"
    recorded.plot(path)
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("names", ["Accuracy", ["Accuracy"]])
def test_some_can_be_chosen(recorded, names):
    assert [axes.get_title() for axes in recorded.plot(names=names).axes] == ["Accuracy"]


def test_no_window_is_opened_and_no_figure_kept(recorded, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    recorded.plot()
    assert "matplotlib.pyplot" not in sys.modules


def test_a_curve_that_is_not_there_is_refused_with_a_guess(recorded):
    with pytest.raises(ArgumentValueError, match=r"no curve of 'Acuracy'\. Did you mean `Accuracy`\?"):
        recorded.plot(names=["Acuracy"])


def test_there_is_no_picture_of_nothing():
    with pytest.raises(ArgumentValueError, match=r"Nothing is recorded yet.*learner.fit\(10\)"):
        SeriesByPhase("epoch", ["Loss"]).plot()


def test_without_matplotlib_the_error_says_what_to_install(recorded, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r'pip install "treadle-metrics\[plot\]"'):
        recorded.plot()


def test_counts_have_their_axes_and_each_phase_its_bar(tmp_path):
    history = ByPhase(History)
    history.of(TrainingPhase()).steps = 16
    history.of(ValidationPhase()).steps = 4
    path = tmp_path / "runs" / "history.png"
    figure = history.plot(path)
    assert [axes.get_title() for axes in figure.axes] == ["epochs", "steps", "steps_epoch"]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [16, 4]
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["TrainingPhase", "ValidationPhase"]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_there_are_no_bars_of_nothing():
    with pytest.raises(ArgumentValueError, match=r"Nothing is recorded yet, so there is no bar.*learner.fit\(10\)"):
        ByPhase(History).plot()
