import torch
from treadle import Callback, Read, Write, hookimpl
from treadle_schedule import LearningRate, Scheduler
from treadle_schedule.taking_part import taking_part


class Clip(Callback):
    state_access = {"step.grads": Write}

    def on_backward_end(self): ...


class Autocast(Callback):
    """Is around whole steps, changes how they compute, and looks at nothing."""

    @hookimpl(wrapper=True)
    def step(self):
        with torch.autocast("cpu"):
            return (yield)


class Save(Callback):
    """Is around whole steps to save what they made, as a checkpointer is."""

    state_access = {"model": Read, "callbacks": Read}

    @hookimpl(wrapper=True)
    def step(self):
        return (yield)


class Watch(Callback):
    state_access = {"step.loss": Read, "cbstate.seen": Write}

    def on_step_end(self): ...


class ScaleBySeen(Callback):
    state_access = {"cbstate.seen": Read}

    def loss(self): ...


def test_who_changes_what_a_step_computes_takes_part_and_who_watches_or_saves_does_not():
    clip, autocast = Clip(), Autocast()
    assert taking_part([Save(), clip, Watch(), Scheduler({LearningRate: 0.1}), autocast]) == [clip, autocast]


def test_with_it_come_those_from_which_it_reads():
    scale, watch = ScaleBySeen(), Watch()
    assert taking_part([Save(), watch, scale]) == [scale, watch]
