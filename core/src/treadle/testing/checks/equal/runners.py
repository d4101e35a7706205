"""Is the result the same when handlers run in threads, and when the list of callbacks has another order?"""

from treadle.callback import Callback
from treadle.dispatch.runners import CallbackRunner, LinearRunner
from treadle.dispatch.threaded_runner import ThreadedRunner
from treadle.testing.comparison.run import Run
from treadle.testing.kinds import EPOCHS
from treadle.testing.report import Checked, Finding
from treadle.testing.subject import Subject, seeded

FIX_THREADS = "do not depend on the thread, and declare in state_access all that is shared with other callbacks."
FIX_ORDER = (
    "use nothing that depends on places in `learner.callbacks`; look another callback up by its class, and declare "
    "what has to run before:\n    run_after = (Recorder,)"
)
FIX_CHANCE = (
    "depend on nothing but the state of the run; draw from a generator whose state state_dict returns. If it has "
    'to, as a clock does, give the reason:\n    skip={"runners": "why", "state": "why"}'
)


def check(subject: Subject) -> Checked:
    """Handlers in threads, or listed in another order, give the same result.

    How: By `LinearRunner` and `ThreadedRunner`, and with the list of callbacks turned around.
    Guarantee: 1, the order follows from the declarations.
    Message: With ThreadedRunner
    Message: With the list of callbacks turned around
    Message: In a second run just like the first
    """

    def trained(runner: CallbackRunner, *, backwards: bool = False) -> Run:
        with seeded():
            return subject.run(Bystander(), runner=runner, backwards=backwards).fit(EPOCHS)

    run = trained(LinearRunner())
    try:
        run.compare(trained(ThreadedRunner()), "With ThreadedRunner", FIX_THREADS)
        run.compare(trained(LinearRunner(), backwards=True), "With the list of callbacks turned around", FIX_ORDER)
    except Finding:
        run.compare(trained(LinearRunner()), "In a second run just like the first", FIX_CHANCE)
        raise
    return Checked(3, "trainings")


class Bystander(Callback):
    """Handles every event and uses nothing, so that other callbacks run beside it in threads."""

    def __init__(self) -> None:
        self.name = "!"  # first in the order, so that it runs in the main thread and the others do not

    def on_fit_begin(self) -> None:
        """Do nothing."""

    on_fit_end = on_epoch_begin = on_epoch_end = on_step_begin = on_step_end = on_fit_begin
    on_loss_begin = on_backward_begin = on_backward_end = on_fit_begin
