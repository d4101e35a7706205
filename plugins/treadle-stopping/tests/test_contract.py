"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_stopping import EarlyStopping, StopOnNaNLoss


class TestStopOnNaNLoss(CallbackContract):
    settings = {"nbatches": 4}
    unused_ok = {"model": "It is looked at when a loss is not finite."}

    def make(self):
        return StopOnNaNLoss()


class TestStopOnNaNLossOfGradients(CallbackContract):
    options = "gradients=True"
    settings = {"nbatches": 4}
    unused_ok = {"model": "It is looked at when a loss is not finite."}

    def make(self):
        return StopOnNaNLoss(gradients=True)


class TestEarlyStopping(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return EarlyStopping(3)


class TestEarlyStoppingOfAMetric(CallbackContract):
    options = "monitor=..."
    partners = ["recorder", "metrics"]
    settings = {"nbatches": 4}

    def make(self):
        return EarlyStopping(3, monitor="Loss")


class TestEarlyStoppingThatRestoresTheBest(CallbackContract):
    options = "restore_best=True"
    settings = {"nbatches": 4}

    def make(self):
        return EarlyStopping(3, restore_best=True)
