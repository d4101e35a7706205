"""What every callback promises. See `treadle.testing.CallbackContract` for what can be set."""

from treadle.testing import CallbackContract
from treadle_smallest_loss import SmallestLoss


class TestSmallestLoss(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return SmallestLoss()
