"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract, check_callback
from treadle_metrics import Metrics, Recorder, Traces


class TestRecorder(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return Recorder()


class TestMetrics(CallbackContract):
    partners = [Recorder]
    settings = {"nbatches": 4}

    def make(self):
        return Metrics()


class TestTraces(CallbackContract):
    partners = [Recorder]
    settings = {"nbatches": 4}

    def make(self, name="Loss"):
        return Traces({name: lambda learner: learner.step.loss})

    def another(self):
        return self.make("Error")


def test_traces_wait_for_no_accelerator() -> None:
    report = check_callback(TestTraces().make, partners=[Recorder], nbatches=4)
    assert report.remarks == []
