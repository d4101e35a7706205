"""What every callback promises, for those of this plugin."""

import torch
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


class TestMixedPrecisionWithAScalerOfTheUser(CallbackContract):
    options = 'dtype="fp16", scaler=...'
    settings = {"nbatches": 4}

    def make(self) -> MixedPrecision:
        return MixedPrecision("fp16", scaler=torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2))
