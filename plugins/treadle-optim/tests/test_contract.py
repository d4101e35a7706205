"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_optim import EMA, SAM, Accumulate, CentraliseGradients, ClipGradients, Unfreeze


class TestAccumulate(CallbackContract):
    settings = {"nbatches": 5}

    def make(self):
        return Accumulate(2)


class TestAccumulateByRows(CallbackContract):
    options = 'weight="rows"'
    settings = {"nbatches": 5}

    def make(self):
        return Accumulate(2, weight="rows")


class TestClipGradients(CallbackContract):
    options = "norm=1.0"
    settings = {"nbatches": 4}

    def make(self):
        return ClipGradients(norm=1.0)


class TestClipGradientsByValue(CallbackContract):
    options = "value=0.1"
    settings = {"nbatches": 4}

    def make(self):
        return ClipGradients(value=0.1)


class TestClipGradientsAdaptively(CallbackContract):
    options = "agc=0.01"
    settings = {"nbatches": 4}

    def make(self):
        return ClipGradients(agc=0.01)


class TestCentraliseGradients(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return CentraliseGradients()


class TestEMA(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return EMA(0.9)


class TestSAM(CallbackContract):
    partners = [lambda: Accumulate(3)]
    unused_ok = {"lossfn": "a loss function without parameters and buffers"}
    settings = {"nbatches": 5}

    def make(self):
        return SAM()


class TestUnfreeze(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return Unfreeze({1: "*"})
