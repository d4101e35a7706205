import threading

from treadle import Callback, TrainingPhase, Write


def test_what_only_works_in_the_main_thread_is_found(failed):
    class Main(Callback):
        state_access = {"cbstate.mains": Write}

        def on_step_end(self, learner, phase: TrainingPhase):
            learner.cbstate.mains = threading.current_thread() is threading.main_thread()

    assert failed(Main) == {
        "runners": "With ThreadedRunner, the contents of `cbstate.mains` differ at the end.\n"
        "Fix: do not depend on the thread, and declare in state_access all that is shared with other callbacks."
    }
