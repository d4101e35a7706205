"""The logging callbacks with this backend: what a run leaves in its event files."""

import pytest
import torch
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, list_session_groups
from tensorboard.plugins.hparams.backend_context import Context
from treadle import TrainingPhase, ValidationPhase, toy_learner
from treadle_logging import (
    Image,
    LogHistograms,
    LogHyperParams,
    LogMetrics,
    LogRun,
    LogTraces,
    LogVisualization,
)
from treadle_metrics import Metrics, Recorder, Traces
from treadle_schedule import Exp, LearningRate, Scheduler
from treadle_tensorboard import TensorBoardBackend


def rounded(numbers) -> list[float]:
    return torch.tensor(list(numbers), dtype=torch.float32).tolist()


def test_every_number_of_a_run_can_be_read_back(tmp_path, read) -> None:
    with TensorBoardBackend(tmp_path) as backend:
        learner = toy_learner(
            Recorder(),
            Metrics(),
            Traces({"twice": lambda learner: 2 * learner.step.loss.detach()}, phase=TrainingPhase),
            Scheduler({LearningRate: Exp(start=0.125, decay=0.5)}),
            LogMetrics(backend),
            LogTraces(backend),
            LogHyperParams(backend),
            LogHistograms(backend, freq=16),
            LogVisualization(lambda step: Image(step.xs.reshape(1, 2, 4) / 100), backend, freq=None),
        )
        learner.fit(2)
    events = read(tmp_path)
    expected = {
        "Step/HParams/LearningRate": learner.cbstate.hyperparams["LearningRate"],
        "Step/TrainingPhase/Traces/twice": learner.cbstate.tracehistory[TrainingPhase()]["twice"],
    }
    for phase in (TrainingPhase(), ValidationPhase()):
        name = type(phase).__name__
        expected[f"Step/{name}/Metrics/Loss"] = learner.cbstate.metricsstep[phase]["Loss"]
        expected[f"Epoch/{name}/Metrics/Loss"] = learner.cbstate.metricsepoch[phase]["Loss"]
    assert set(events.Tags()["scalars"]) == set(expected)
    for tag, series in expected.items():
        read_back = events.Scalars(tag)
        assert [event.step for event in read_back] == list(series.iterations)
        assert [event.value for event in read_back] == rounded(series.values)
    assert [event.step for event in events.Histograms("Step/Histograms/Weights/weight")] == [1, 17]
    assert [event.step for event in events.Images("Step/Visualization")] == list(range(1, 33))


def test_a_run_that_failed_has_left_its_numbers(tmp_path, read) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(TensorBoardBackend(tmp_path)))
    learner.lossfn = Failing(after=5)
    with pytest.raises(RuntimeError, match="a cosmic ray"):
        learner.fit(1)
    assert [event.step for event in read(tmp_path).Scalars("Step/TrainingPhase/Metrics/Loss")] == [1, 2, 3, 4, 5]


class Failing:
    """A loss function that fails."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("a cosmic ray")
        return (yhats - ys).abs().mean()


def test_settings_and_last_metrics_of_runs_make_one_table(tmp_path) -> None:
    losses = {}
    for rate in (0.125, 0.25):
        with TensorBoardBackend(tmp_path / str(rate)) as backend:
            loggers = LogMetrics(backend), LogRun(backend, hyperparams={"lr": rate, "optimizer": "sgd", "amp": False})
            learner = toy_learner(Recorder(), Metrics(), *loggers, nbatches=2)
            learner.fit(2)
        losses[rate] = rounded([learner.cbstate.metricsepoch[ValidationPhase()]["Loss"].last[1]])[0]

    # What the HParams tab shows, by TensorBoard's own reader.
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    context = TBContext(data_provider=MultiplexerDataProvider(runs, str(tmp_path)))
    every_status = list(api_pb2.Status.values())
    request = api_pb2.ListSessionGroupsRequest(slice_size=10, allowed_statuses=every_status)
    request.aggregation_type = api_pb2.AGGREGATION_AVG
    table = list_session_groups.Handler(RequestContext(), Context(context), "", request).run()
    rows = {}
    for row in table.session_groups:
        metrics = {metric.name.tag: metric.value for metric in row.metric_values}
        rate = row.hparams["lr"].number_value
        rows[rate] = metrics["Epoch/ValidationPhase/Metrics/Loss"]
        assert (row.hparams["optimizer"].string_value, row.hparams["amp"].bool_value) == ("sgd", False)
    assert rows == losses
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["0.125", "0.25"]  # and no folder beside the runs'
