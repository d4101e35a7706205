import numpy
import pytest
import torch
from treadle import Callback, CancelFittingException, Series, TrainingPhase, Write, toy_learner
from treadle.testing import check_callback
from treadle.testing.checks.equal.saved import Saver
from treadle.testing.checks.equal.state import restless_learner
from treadle.testing.comparison.run import Run, Trail
from treadle.testing.subject import seeded


def test_a_counter_that_no_checkpoint_keeps_is_found(failed):
    class Forgets(Callback):
        state_access = {"cbstate.count": Write}
        count = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.count += 1
            learner.cbstate.count = self.count

    assert failed(Forgets) == {
        "state": "Resumed from a checkpoint after step 1 of epoch 1, the contents of `cbstate.count` differ at the "
        "end.\n"
        "Fix: return from state_dict all that its handlers go on from, and take it over in load_state_dict."
    }


def test_a_decision_that_differs_after_a_checkpoint_is_found(failed):
    class Stops(Callback):
        steps = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 20:
                raise CancelFittingException("20 steps")

    assert failed(Stops)["state"].startswith(
        "Resumed from a checkpoint after step 1 of epoch 1, the fit ended after 2 epochs and 21 steps "
        "(cancelled: 20 steps) instead of after 2 epochs and 20 steps (cancelled: 20 steps).\nFix: "
    )


def test_a_state_that_is_loaded_wrongly_is_found(Mean, failed):
    class Loses(Mean):
        def load_state_dict(self, state):
            self.total = state["total"]

    assert failed(Loses)["state"].startswith(
        "After load_state_dict, state_dict returns something else than was loaded.\nFix: "
    )


def test_a_state_without_a_way_back_is_found(failed):
    class OneWay(Callback):
        def on_step_end(self): ...

        def state_dict(self):
            return {"a": 1}

    assert failed(OneWay) == {
        "declarations": "OneWay has a `state_dict` and no `load_state_dict`, so no saved run could be resumed with "
        "it.\n"
        "Fix: define both, or none of them:\n"
        "    def load_state_dict(self, state): ..."
    }


def test_a_state_that_is_not_plain_is_found_with_its_place(Mean, failed):
    class Keeps(Mean):
        def state_dict(self):
            return {"history": [{"seen": {1, 2}}]}

        def load_state_dict(self, state): ...

    assert failed(Keeps)["state"].startswith(
        "A checkpoint cannot hold callbacks/Keeps/state/history/0/seen, a set ({1, 2}).\nFix: let the state_dict "
    )


def test_an_entry_of_cbstate_that_is_not_plain_is_found(failed):
    class Keeps(Callback):
        state_access = {"cbstate.seen": Write}

        def on_init(self, learner):
            learner.cbstate.seen = {1}

    assert failed(Keeps)["state"].startswith("A checkpoint cannot hold cbstate/seen/value, a set ({1}).\nFix: ")


def test_a_number_of_numpy_counts_as_the_number_that_a_checkpoint_holds():
    class Keeps(Callback):
        state_access = {"cbstate.kept": Write}

        def __init__(self):
            self.kept = numpy.float32(0.1)

        def on_init(self, learner):
            learner.cbstate.kept = {"value": self.kept}

        def state_dict(self):
            return {"kept": self.kept}

        def load_state_dict(self, state):
            self.kept = state["kept"]

    assert check_callback(Keeps).failed == 0


def test_a_callback_without_state_that_becomes_one_with_state_is_found(failed):
    class Loses(Callback):
        kept = 1

        def on_epoch_end(self):
            self.kept = None

        def state_dict(self):
            return {} if self.kept is None else {"kept": self.kept}

        def load_state_dict(self, state):
            self.kept = state["kept"]

    assert "it has no state of Loses, which the learner has" in failed(Loses)["state"]


# A checkpoint in memory.


class Weigh(Callback):
    """Counts steps, in its own state and in `cbstate`."""

    state_access = {"cbstate.counted": Write}

    def __init__(self) -> None:
        self.steps = 0

    def on_init(self, learner):
        learner.cbstate.counted = Series()

    def on_fit_begin(self):
        self.steps = 0

    def on_step_end(self, learner, phase: TrainingPhase):
        self.steps += 1
        learner.cbstate.counted.push(self.steps, self.steps / 2)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def saved(n: int):
    """A run that trained for some epochs, and what was saved of it on the way."""
    weigh, trail = Weigh(), Trail()
    learner = toy_learner(weigh, trail, nbatches=3)
    run = Run(learner, weigh, [], trail)
    learner.add_callback(saver := Saver(run))
    return run.fit(n), saver.saved


def test_a_run_is_saved_after_each_step_of_training_and_between_epochs():
    assert [point.place for point in saved(2)[1]] == [
        "after step 1 of epoch 1",
        "after step 2 of epoch 1",
        "after step 3 of epoch 1",
        "between two epochs, 1 of them done",
        "between two epochs, 2 of them done",
        "after step 1 of epoch 2",
        "after step 2 of epoch 2",
        "after step 3 of epoch 2",
        "between two epochs, 3 of them done",
    ]


def test_a_run_goes_on_from_memory_as_if_it_had_never_stopped():
    run, points = saved(3)
    for point in points:
        again, trail = Weigh(), Trail()
        learner = toy_learner(again, trail, nbatches=3)
        resumed = Run(learner, again, [], trail)
        point.resume(resumed)
        resumed.fit(3)
        run.compare(resumed, point.place, "")
        assert again.steps == run.callback.steps == 9
        assert learner.cbstate.counted == run.learner.cbstate.counted
        assert torch.equal(learner.model.weight, run.learner.model.weight)
        assert learner.progress.epochs == 3


@pytest.mark.parametrize("nbatches", [4, 8, 16])
def test_losses_also_rise_where_the_state_is_checked(nbatches):
    trail = Trail()
    with seeded():
        restless_learner(trail, nbatches=nbatches).fit(3)
    losses = torch.stack([loss for loss, _ in trail.validation]).reshape(3, nbatches).mean(1)
    assert losses.diff().max() > 0.05
    assert losses.diff().min() < -0.05
