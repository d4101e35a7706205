"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_device import GarbageCollect, ToDevice, ToGPU

MOVED = dict.fromkeys(
    ("model", "params", "lossfn", "optimizer"), "all is on the CPU already, so there is nothing to move"
)


class TestGarbageCollect(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return GarbageCollect()


class TestToDevice(CallbackContract):
    unused_ok = MOVED
    settings = {"nbatches": 4}

    def make(self):
        return ToDevice("cpu")


class TestToGPU(CallbackContract):
    unused_ok = MOVED
    settings = {"nbatches": 4}

    def make(self):
        return ToGPU()
