"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_logging import (
    LoggerBackend,
    LogHistograms,
    LogHyperParams,
    LogMetrics,
    LogRun,
    LogTraces,
    LogVisualization,
)
from treadle_metrics import Metrics, Recorder, Traces
from treadle_schedule import LearningRate, Scheduler


class Nowhere(LoggerBackend):
    """A backend that forgets what it is given."""

    def log(self, loggable, name, i, group):
        pass


def loss_traces():
    return Traces({"Loss": lambda learner: learner.step.loss})


def schedule():
    return Scheduler({LearningRate: 0.1})


class TestLogMetrics(CallbackContract):
    partners = [Recorder, Metrics]
    settings = {"nbatches": 4}

    def make(self):
        return LogMetrics(Nowhere())


class TestLogHyperParams(CallbackContract):
    partners = [schedule]
    settings = {"nbatches": 4}

    def make(self):
        return LogHyperParams(Nowhere())


class TestLogTraces(CallbackContract):
    partners = [Recorder, loss_traces]
    settings = {"nbatches": 4}

    def make(self):
        return LogTraces(Nowhere())


class TestLogHistograms(CallbackContract):
    partners = [Recorder]
    settings = {"nbatches": 4}

    def make(self):
        return LogHistograms(Nowhere())


class TestLogHistogramsOfGradientsAndActivations(CallbackContract):
    options = "gradients=True, activations=True"
    partners = [Recorder]
    settings = {"nbatches": 4}

    def make(self):
        return LogHistograms(Nowhere(), gradients=True, activations=True)


class TestLogVisualization(CallbackContract):
    partners = [Recorder]
    settings = {"nbatches": 4}

    def make(self):
        return LogVisualization(lambda step: step.xs[None] / 100, Nowhere())


class TestLogRun(CallbackContract):
    options = 'hyperparams={"lr": 0.1}'
    settings = {"nbatches": 4}

    def make(self):
        return LogRun(Nowhere(), hyperparams={"lr": 0.1})
