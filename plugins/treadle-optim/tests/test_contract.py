"""What every callback promises, for those of this plugin."""

import torch
from treadle.testing import CallbackContract
from treadle_optim import (
    EMA,
    SAM,
    SWA,
    Accumulate,
    CentraliseGradients,
    ClipGradients,
    Lookahead,
    OptimizerModes,
    Unfreeze,
)


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

        return Unfreeze({2: "0.*"})


class TestSWA(CallbackContract):
    settings = {"nbatches": 4}
    unused_ok = {
        "data": "It is read for a model with BatchNorm.",
        "callbacks": "They are asked how they move data, for a model with BatchNorm.",
    }

    def make(self):
        return SWA(1)


class TestLookahead(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return Lookahead(k=2)


class WithModes(torch.optim.SGD):
    """An optimizer that trains with half of the weights that it is validated with."""

    def train(self):
        self.scale(training=True, factor=0.5)

    def eval(self):
        self.scale(training=False, factor=2.0)

    @torch.no_grad()
    def scale(self, *, training, factor):
        for group in self.param_groups:
            if group.get("training") != training:
                group["training"] = training
                torch._foreach_mul_(group["params"], factor)


class TestOptimizerModes(CallbackContract):
    settings = {"nbatches": 4, "optimizer": lambda parameters: WithModes(parameters, lr=0.001)}

    def make(self):
        return OptimizerModes()
