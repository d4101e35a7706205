"""Runs that are interrupted and resumed."""

import io
from itertools import islice

import pytest
import torch
from treadle import Callback, hookimpl


class Saved:
    """A run as it is read from a file; another learner goes on from it."""

    counters = ("epoch", "epochs", "steps", "updates", "accumulated")

    def __init__(self, learner, phase=None, batches=0):
        self.phase, self.batches, self.rounds = phase, batches, learner.position.rounds
        self.file = io.BytesIO()
        state = {
            "callbacks": {callback.name: callback.state_dict() for callback in learner.callbacks},
            "model": learner.model.state_dict(),
            "progress": {name: getattr(learner.progress, name) for name in self.counters},
            "rounds": learner.position.rounds,
        }
        torch.save(state, self.file)

    def resume(self, learner):
        self.learner = learner
        learner.position.resumption = self

    def put(self):
        self.file.seek(0)
        state = torch.load(self.file, weights_only=True)
        for callback in self.learner.callbacks:
            callback.load_state_dict(state["callbacks"][callback.name])
        self.learner.model.load_state_dict(state["model"])
        for name, count in state["progress"].items():
            setattr(self.learner.progress, name, count)
        self.learner.position.rounds = state["rounds"]

    def begin(self, length):
        self.put()

    def restore(self):
        self.put()
        if self.phase is None:
            self.learner.position.resumption = None

    def rest(self, phase, data):
        self.put()
        position = self.learner.position
        position.resumption, position.skipped, self.learner.progress.step = None, self.batches, self.batches
        return islice(data, self.batches, None)


class Saving(Callback):
    """Saves a run before every epoch and around every step."""

    def __init__(self, learner):
        self.learner, self.saved, self.batches = learner, [], 0

    @hookimpl(wrapper=True)
    def epoch(self):
        self.saved.append(Saved(self.learner))
        self.batches = 0
        return (yield)

    @hookimpl(wrapper=True)
    def step(self, phase):
        self.saved.append(Saved(self.learner, phase, self.batches))
        result = yield
        self.batches += 1
        self.saved.append(Saved(self.learner, phase, self.batches))
        return result


@pytest.fixture
def saved_everywhere():
    """Runs a learner, and returns the run as it was at each place where it could have been interrupted."""

    def save(learner, run):
        saving = Saving(learner)
        learner.add_callback(saving)
        run(learner)
        return saving.saved

    save.save = Saved
    return save
