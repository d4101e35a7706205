"""A run in which an observer failed is saved and resumed like any other; what was left out takes part again."""

from __future__ import annotations

import torch
from treadle import Callback, Read, TrainingPhase, Write, toy_learner
from treadle_checkpoint import Checkpointer, latest, resume


class Notes(Callback):
    """Writes down the number of each training step; its disk is full for a while."""

    state_access = {"step.loss": Read, "cbstate.notes": Write}

    def __init__(self, broken=False):
        self.broken = broken

    def on_init(self, learner):
        if "notes" not in learner.cbstate:
            learner.cbstate.notes = []

    def on_step_end(self, learner, phase: TrainingPhase):
        learner.cbstate.notes = [*learner.cbstate.notes, learner.progress.steps]
        if self.broken:
            raise OSError("No space left on device.")


def learner_with(notes, folder):
    return toy_learner(notes, Checkpointer(folder, every_steps=4), nbatches=8, observer_errors="warn")


def test_one_that_was_left_out_takes_part_again_in_a_run_that_is_resumed(tmp_path):
    whole = learner_with(Notes(), tmp_path / "whole")
    whole.fit(3)

    learner = learner_with(Notes(broken=True), tmp_path / "run")
    assert learner.fit(2).observer_errors[0].left_out
    assert learner.cbstate.notes == [*range(1, 11)]  # what it had written when it failed stays

    resumed = learner_with(notes := Notes(), tmp_path / "run")
    resume(resumed, latest(tmp_path / "run"))
    assert resumed.fit(3).observer_errors == ()
    assert resumed.cbstate.notes == [*range(1, 11), *range(17, 25)]
    assert not notes.broken
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_a_checkpointer_is_essential(tmp_path):
    learner = learner_with(Notes(), tmp_path / "run")
    assert [callback.name for callback in learner.plan().observers] == ["Notes"]
