"""The logging callbacks with this backend: what a run leaves in its event files."""

import pytest
import torch
from treadle import TrainingPhase, ValidationPhase, toy_learner
from treadle_logging import (
    Image,
    LogHistograms,
    LogHyperParams,
    LogMetrics,
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
