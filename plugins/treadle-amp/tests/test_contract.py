"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_amp import MixedPrecision


class TestMixedPrecision(CallbackContract):
    settings = {"nbatches": 4}

    def make(self) -> MixedPrecision:
        return MixedPrecision()


class TestMixedPrecisionWithAScaler(CallbackContract):
    options = 'dtype="fp16"'
    settings = {"nbatches": 4}

    def make(self) -> MixedPrecision:
        return MixedPrecision("fp16")
