"""What every callback promises, for the one of this plugin."""

from treadle.testing import CallbackContract
from treadle_schedule import LearningRate, Momentum, Scheduler


class TestScheduler(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return Scheduler({LearningRate: 0.1})

    def another(self):
        return Scheduler({Momentum: 0.1})
