"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_optim import EMA


class TestEMA(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return EMA(0.9)
