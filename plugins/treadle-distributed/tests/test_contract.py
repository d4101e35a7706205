"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_distributed import DDP


class TestDDP(CallbackContract):
    settings = {"nbatches": 4}

    unused_ok = dict.fromkeys(("model", "step.grads", "step.accumulating"), "In a single process it does nothing.")

    def make(self) -> DDP:
        return DDP()
