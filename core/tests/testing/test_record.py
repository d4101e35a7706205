from types import SimpleNamespace

import pytest
import torch
from treadle import Callback, ProtectedException, Read, TrainingPhase, Write, hookimpl, toy_learner
from treadle.operations import Forward
from treadle.state.views import view
from treadle.testing import check_callback
from treadle.testing.comparison.numbers_taken import NumbersTaken
from treadle.testing.comparison.record import Record, RecordingView

DECLARED = {"step": Read, "cbstate.count": Write, "cbstate.history": Read, "params": Read, "optimizer": Write}


@pytest.fixture
def seen():
    """A recording view of a learner after a step, and the record."""
    learner = toy_learner(nbatches=1)
    learner.fit(1)
    learner.cbstate.count, learner.cbstate.history = 0, [1]
    callback = Callback()
    callback.state_access = DECLARED
    record = Record(callback)
    return SimpleNamespace(view=RecordingView(view(learner, callback), record), record=record, learner=learner)


def test_reads_are_noted_by_the_path_at_which_the_view_ends(seen):
    assert seen.view.step.loss is seen.learner.step.loss
    assert seen.view.cbstate.history == [1]
    assert "history" in seen.view.cbstate
    assert seen.record.read == {"step", "cbstate.history"}


def test_items_count_like_attributes(seen):
    assert seen.view["cbstate"]["history"] == [1]
    seen.view["cbstate"]["count"] = 2
    assert seen.learner.cbstate.count == 2
    assert (seen.record.read, seen.record.written) == ({"cbstate.history"}, {"cbstate.count"})


def test_what_is_set_or_deleted_is_written(seen):
    seen.view.cbstate.count = 3
    del seen.view.cbstate.count
    assert "count" not in seen.learner.cbstate
    assert seen.record.written == {"cbstate.count"}
    assert seen.record.read == set()


def test_what_is_refused_is_not_noted(seen):
    with pytest.raises(ProtectedException, match=r'Fix: change in Callback\.state_access:\n    "params": Write'):
        seen.view.params = {}
    with pytest.raises(ProtectedException, match='"model": Read'):
        _ = seen.view.model
    assert seen.record.read == seen.record.written == set()


class Twice(Callback):
    """Performs an operation inside of another one, and looks at no number."""

    state_access = {"loop": Write}

    @hookimpl(wrapper=True)
    def backward(self, learner, phase: TrainingPhase):
        learner.loop.perform(Forward)
        return (yield)

    @hookimpl(wrapper=True)
    def forward(self, learner, phase: TrainingPhase):
        return (yield)


def test_who_asks_whether_a_tensor_is_on_the_cpu_takes_its_number_there_alone() -> None:
    found: list[str] = []
    asked, other = torch.ones(()), torch.ones(())
    with NumbersTaken(lambda: found.append("here")):
        assert asked.is_cpu
        asked.item()
        assert found == []
        other.item()
    assert found == ["here"]


def test_what_the_kit_compares_inside_of_a_handler_is_no_number_that_the_handler_takes() -> None:
    assert [remark for result in check_callback(Twice).results for remark in result.remarks if "number" in remark] == []
