from treadle import Callback, Write
from treadle.testing import check_callback


def test_an_on_init_that_cannot_run_again_is_found(failed):
    class Appends(Callback):
        state_access = {"cbstate.inits": Write}

        def on_init(self, learner):
            inits = learner.cbstate.inits if "inits" in learner.cbstate else 0
            learner.cbstate.inits = inits + 1

    assert failed(Appends)["init"].startswith(
        "A second on_init changed `cbstate.inits` (changed).\nFix: on_init runs again"
    )


def test_an_on_init_that_changes_its_own_state_each_time_is_found(failed):
    class Counts(Callback):
        count = 0

        def on_init(self):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    assert failed(Counts)["init"].startswith(
        "A second on_init changed the values of state_dict.\nFix: on_init runs again"
    )


def test_without_an_on_init_there_is_nothing_to_repeat(skipped):
    class Quiet(Callback):
        def on_step_end(self): ...

    assert skipped(check_callback(Quiet)) == {"init": "It has no on_init."}
