"""Metrics that give several numbers at once: each entry of a dict is a column under its own key."""

import io

import pytest
import torch
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryF1Score, BinaryRecall, MulticlassAccuracy
from torchmetrics.wrappers import ClasswiseWrapper
from treadle import TrainingPhase, ValidationPhase, epoch, toy_learner
from treadle.errors import ArgumentValueError
from treadle_metrics import AbstractMetric, Metric, MetricError, Metrics, Recorder

BATCHES = [(torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1, 0, 0])), (torch.tensor([1.0, 1.0]), torch.tensor([1, 1]))]


def spread(yhats, ys):
    return {"least": yhats.min(), "most": yhats.max()}


def recorded(phase, *metrics, batches=BATCHES):
    """The values of the steps and of the epoch by column, and the columns that the tables expect."""
    learner = toy_learner(Recorder(), Metrics(*metrics))
    epoch(learner, phase, batches)
    steps, epochs = learner.cbstate.metricsstep, learner.cbstate.metricsepoch
    assert steps.names == epochs.names
    return (
        {name: list(series.values) for name, series in steps[phase].items()},
        {name: series.last[1] for name, series in epochs[phase].items()},
        epochs.names,
    )


def test_a_collection_of_torchmetrics_is_a_column_for_each_entry(outputs):
    steps, whole, names = recorded(outputs, MetricCollection([BinaryAccuracy(), BinaryF1Score()]))
    assert steps["BinaryAccuracy"] == pytest.approx([2 / 3, 1.0])
    assert whole == {"BinaryAccuracy": pytest.approx(4 / 5), "BinaryF1Score": pytest.approx(6 / 7)}
    assert names == ["Loss", "BinaryAccuracy", "BinaryF1Score"]


def test_its_columns_are_known_before_the_first_step():
    learner = toy_learner(Recorder(), Metrics(MetricCollection([BinaryF1Score()], prefix="val "), spread))
    assert learner.cbstate.metricsepoch.names == ["Loss", "val BinaryF1Score", "Spread"]


def test_a_function_that_returns_a_dict_is_averaged_column_by_column(outputs):
    steps, whole, names = recorded(outputs, spread)
    assert steps == {"least": [0.0, 1.0], "most": [1.0, 1.0]}
    assert whole == {"least": 0.5, "most": 1.0}
    assert names == ["Loss", "least", "most"]


def test_an_abstract_metric_can_return_a_dict(outputs):
    class Both(AbstractMetric):
        def reset(self):
            self.last = 0.0

        def step(self, learner, phase):
            self.last = learner.step.yhats.sum().item()

        def step_value(self):
            return {"sum": self.last}

        def epoch_value(self):
            return {"sum": self.last, "half": self.last / 2}

    steps, whole, names = recorded(outputs, Both())
    assert (steps, whole, names) == ({"sum": [2.0, 2.0]}, {"sum": 2.0, "half": 1.0}, ["Loss", "sum", "half"])


def test_a_key_that_comes_later_is_a_column_from_then_on(outputs):
    def some(yhats, ys):
        return {"rows": len(yhats)} | ({"few": 1.0} if len(yhats) < 3 else {})

    steps, whole, _ = recorded(outputs, some)
    assert (steps, whole) == ({"rows": [3.0, 2.0], "few": [1.0]}, {"rows": 2.5, "few": 1.0})


def test_an_entry_that_is_a_dict_itself_is_flattened_by_torchmetrics(outputs):
    wrapper = ClasswiseWrapper(MulticlassAccuracy(2, average=None))
    batches = [(torch.eye(2), torch.tensor([0, 0]))]
    _, whole, names = recorded(outputs, MetricCollection({"by class": wrapper}), batches=batches)
    assert names == ["Loss", *whole]
    assert list(whole.values()) == [0.5, 0.0]


def test_a_statistic_works_for_each_column(outputs):
    class Largest:
        def reset(self):
            self.values = []

        def update(self, value):
            self.values.append(value)

        def compute(self):
            return max(self.values)

    statistic = Largest()
    statistic.reset()
    assert recorded(outputs, Metric(spread, statistic=statistic))[1] == {"least": 1.0, "most": 1.0}


def test_columns_of_one_name_are_refused_when_the_callback_is_made():
    with pytest.raises(ArgumentValueError, match=r"2 metrics with the name 'BinaryF1Score'\.\nFix: give each a name"):
        Metrics(MetricCollection([BinaryF1Score()]), BinaryF1Score())


def test_two_collections_with_prefixes_are_used_side_by_side(outputs):
    collections = [MetricCollection([BinaryF1Score()], prefix=prefix) for prefix in ("a ", "b ")]
    assert list(recorded(outputs, *collections)[1]) == ["a BinaryF1Score", "b BinaryF1Score"]


def test_a_column_that_another_metric_has_is_refused_at_the_first_batch(outputs):
    def other(yhats, ys):
        return {"most": 1.0}

    with pytest.raises(MetricError, match=r"'Spread' and 'Other' both record a column 'most'\.\nFix: give it another"):
        recorded(outputs, spread, other)
    with pytest.raises(MetricError, match="'Loss' and 'Clash' both record a column 'Loss'"):
        recorded(outputs, Metric(lambda yhats, ys: {"Loss": 1.0}, name="Clash"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": torch.ones(2)}, r"'X\[a\]' gave a tensor of shape \(2,\), and one number is recorded"),
        ({"a": {"b": 1.0}}, r"'X\[a\]' gave a dict"),
        ({1: 1.0}, r"'X' gave a dict with the key 1, and each key names a column\.\nFix: return texts"),
        ({"": 1.0}, r"'X' gave a dict with the key ''"),
    ],
)
def test_an_entry_that_is_not_a_number_or_has_no_name_is_refused(outputs, value, message):
    with pytest.raises(MetricError, match=message):
        recorded(outputs, Metric(lambda yhats, ys: value, name="X"))


def test_a_dict_in_one_step_and_a_number_in_another_is_refused(outputs):
    for first, second in ((1.0, {"a": 1.0}), ({"a": 1.0}, 1.0)):
        values = iter([first, second])
        with pytest.raises(MetricError, match=r"'X' gave a dict in one step and a number in another\.\nFix: return"):
            recorded(outputs, Metric(lambda yhats, ys, values=values: next(values), name="X"))


def classes(yhats, ys):
    return (yhats > 50).float(), (ys > 50).long()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Metric(MetricCollection([BinaryAccuracy(), BinaryF1Score(), BinaryRecall()]), device=classes),
        lambda: Metric(lambda yhats, ys: {"a": yhats.mean(), "b": ys.mean()}, name="Both"),
    ],
)
def test_resumed_anywhere_the_columns_are_the_same(resumed_everywhere, make):
    def learner():
        return toy_learner(Recorder(), Metrics(make()), nbatches=3)

    assert resumed_everywhere(learner, TrainingPhase()) == 2 * (1 + 2 * 3)


def test_the_device_of_a_collection_follows_the_outputs(outputs):
    metric, learner = Metric(MetricCollection([BinaryF1Score(validate_args=False)])), toy_learner()
    outputs.step(learner, (torch.ones(2, device="meta"), torch.ones(2, device="meta", dtype=torch.int64)))
    metric.step(learner, outputs)
    assert metric.step_value()["BinaryF1Score"].device.type == "meta"


def test_each_column_is_in_the_table_the_file_and_can_be_monitored(tmp_path):
    progress = pytest.importorskip("treadle_progress", reason="treadle-progress is not installed")
    stopping = pytest.importorskip("treadle_stopping", reason="treadle-stopping is not installed")
    logging = pytest.importorskip("treadle_logging", reason="treadle-logging is not installed")
    checkpoint = pytest.importorskip("treadle_checkpoint", reason="treadle-checkpoint is not installed")
    table = io.StringIO()
    learner = toy_learner(
        Recorder(),
        Metrics(spread, MetricCollection({"mse": MeanSquaredError()})),
        progress.MetricsPrinter(file=table),
        logging.LogMetrics(logging.CSVBackend(tmp_path / "log.csv")),
        stopping.EarlyStopping(stopping.Threshold(1e9), monitor="mse"),
        checkpoint.Checkpointer(tmp_path / "run", metric="most", mode="max"),
    )
    result = learner.fit(3)
    assert result.epochs == 1
    assert table.getvalue().splitlines()[0].split() == ["epoch", "phase", "Loss", "least", "most", "mse"]
    learner.cbstate.metricsepoch.to_csv(tmp_path / "epochs.csv")
    assert (tmp_path / "epochs.csv").read_text().splitlines()[0] == "epoch,phase,Loss,least,most,mse"
    tags = {line.split(",")[0] for line in (tmp_path / "log.csv").read_text().splitlines()[1:]}
    assert {f"Epoch/{phase}/Metrics/mse" for phase in ("TrainingPhase", "ValidationPhase")} <= tags
    (saved,) = checkpoint.checkpoints(tmp_path / "run")
    assert saved.score.value == learner.cbstate.metricsepoch[ValidationPhase()]["most"].last[1]
