"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_fastai import GradientClipping, OneCycleScheduler


class TestGradientClipping(CallbackContract):
    options = "clip=1.0"
    settings = {"nbatches": 4}

    def make(self):
        return GradientClipping(clip=1.0)


class TestOneCycleScheduler(CallbackContract):
    options = "lr_max=0.01"
    settings = {"nbatches": 4}

    def make(self):
        return OneCycleScheduler(lr_max=0.01)
