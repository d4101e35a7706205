"""Callbacks that keep more of the learner than they need."""

import pytest
import torch
from treadle import AbstractTrainingPhase, Callback, Read, Write

GRAPH = "Fix: keep the number, or the tensor without its graph:\n    learner.step.loss.detach()"
STATE = "Fix: keep what is needed of it, not all of it:"
VIEW = "Fix: take the learner as an argument where it is used:\n    def on_step_end(self, learner): ..."


class Total(Callback):
    """Adds up losses with their graphs."""

    state_access = {"step.loss": Read}
    total = 0.0

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.total = self.total + learner.step.loss


class Outputs(Callback):
    """Keeps all outputs with their graphs."""

    state_access = {"step.yhats": Read}

    def __init__(self):
        self.outputs = []

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        self.outputs.append(learner.step.yhats)


class Worst(Callback):
    """Keeps the highest loss, with its graph, for other callbacks."""

    state_access = {"step.loss": Read, "cbstate.worst": Write}

    def on_init(self, learner):
        learner.cbstate.worst = torch.tensor(-1.0)

    def on_step_end(self, learner, phase: AbstractTrainingPhase):
        if learner.step.loss > learner.cbstate.worst:
            learner.cbstate.worst = learner.step.loss


class States(Callback):
    """Keeps the states of all steps of validation and training."""

    state_access = {"step": Write}

    def __init__(self):
        self.states = []

    def on_step_end(self, learner):
        learner.step.seen = True
        self.states.append(dict(learner.step)["xs"].shape)
        self.last = [*getattr(self, "last", []), learner.step]


class KeepsLearner(Callback):
    """Keeps the learner that it once got."""

    def on_init(self, learner):
        self.learner = learner

    def on_step_end(self):
        self.learner.progress.step  # noqa: B018


class KeepsViews(Callback):
    """Keeps a part of the learner in a list."""

    state_access = {"cbstate.count": Write}

    def on_init(self, learner):
        learner.cbstate.count = 0
        self.parts = {"cbstate": [learner.cbstate]}


BUGS = [
    (
        Total,
        r"^The graphs of \d+ steps, with what was computed in them, are still there .*: Total keeps a tensor",
        GRAPH,
    ),
    (Outputs, r"^The graphs of \d+ steps, .* Outputs keeps a tensor that needs a gradient\.", GRAPH),
    (Worst, r"^The graphs of \d+ steps, .* Worst keeps a tensor that needs a gradient\.", GRAPH),
    (States, r"^(The states of \d+ steps are|States\.\w+ is the learner or a view|The graphs of)", "Fix: "),
    (
        KeepsLearner,
        r"^KeepsLearner\.learner is the learner or a view of it, and belongs to this learner alone\.",
        VIEW,
    ),
    (KeepsViews, r"^KeepsViews\.parts is the learner or a view of it", VIEW),
]


@pytest.mark.parametrize(("bug", "cause", "fix"), BUGS, ids=lambda value: getattr(value, "__name__", ""))
def test_the_bug_is_found_with_its_cause_and_its_fix(bug, cause, fix, found):
    result = found(bug, "memory")
    assert result.outcome == "failed"
    with pytest.raises(AssertionError, match=cause):
        raise AssertionError(result.detail)
    assert fix in result.detail


def test_the_last_graph_alone_is_a_remark(found):
    class Last(Callback):
        state_access = {"step.loss": Read}

        def on_step_end(self, learner, phase: AbstractTrainingPhase):
            self.loss = learner.step.loss

    result = found(Last, "memory")
    assert result.outcome == "passed"
    assert result.remarks == (
        f"The graph of the last step is still there after it: Last keeps a tensor that needs a gradient.\n{GRAPH}",
    )


def test_tensors_that_become_more_with_each_step_are_a_remark(found):
    class Losses(Callback):
        state_access = {"step.loss": Read}

        def __init__(self):
            self.losses = []

        def on_step_end(self, learner, phase: AbstractTrainingPhase):
            self.losses.append(learner.step.loss.detach())

    (remark,) = found(Losses, "memory").remarks
    assert remark.startswith("Losses holds 4 more tensors after another epoch.\nFix: keep numbers, or forget what")
