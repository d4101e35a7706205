"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_progress import MetricsPrinter, ProgressPrinter, StepPrinter


class TestProgressPrinter(CallbackContract):
    unused_ok = {"step.loss": "it is only read for a bar that is shown, in a terminal"}
    settings = {"nbatches": 4}

    def make(self):
        return ProgressPrinter()


class TestMetricsPrinter(CallbackContract):
    partners = ["recorder", "metrics"]
    settings = {"nbatches": 4}

    def make(self):
        return MetricsPrinter()


class TestStepPrinter(CallbackContract):
    partners = ["recorder", "metrics"]
    settings = {"nbatches": 4}

    def make(self):
        return StepPrinter(freq=2)
