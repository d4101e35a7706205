"""What every callback promises, for those of this plugin."""

from treadle import Callback, PropDict, Series, Write
from treadle.testing import CallbackContract
from treadle_schedule import LearningRate, Momentum, ReduceOnPlateau, Scheduler, WeightDecay


class TestScheduler(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return Scheduler({LearningRate: 0.1})

    def another(self):
        return Scheduler({Momentum: 0.1})


class ByPhase(dict):
    """Records by phase, as `treadle-metrics` keeps them."""

    def __missing__(self, phase):
        return self.setdefault(phase, PropDict(Loss=Series()))

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


class Metrics(Callback):
    """Records the same loss for each epoch."""

    state_access = {"cbstate.metricsepoch": Write}

    def __init__(self):
        self.name = "metrics"
        self.count = 0

    def on_init(self, learner):
        if "metricsepoch" not in learner.cbstate:
            learner.cbstate.metricsepoch = ByPhase()

    def on_epoch_end(self, learner, phase):
        self.count += 1
        learner.cbstate.metricsepoch[phase].Loss.push(self.count, 1.0)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class TestReduceOnPlateau(CallbackContract):
    settings = {"nbatches": 4}
    partners = [Metrics]
    unused_ok = {"data": "it asks for data only in an epoch outside of a fit"}

    def make(self):
        return ReduceOnPlateau(WeightDecay, patience=0)

    def another(self):
        return ReduceOnPlateau(LearningRate)
