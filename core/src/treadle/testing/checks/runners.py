"""Is the result the same when handlers run in threads?"""

from treadle.callback import Callback
from treadle.dispatch.runners import CallbackRunner, LinearRunner
from treadle.dispatch.threaded_runner import ThreadedRunner
from treadle.testing.run import Run
from treadle.testing.subject import EPOCHS, Subject, seeded

FIX = "do not depend on the thread, and declare in state_access all that is shared with other callbacks."


def check(subject: Subject) -> None:
    """Handlers in threads give the same result."""

    def trained(runner: CallbackRunner) -> Run:
        with seeded():
            return subject.run(Bystander(), runner=runner).fit(EPOCHS)

    trained(LinearRunner()).compare(trained(ThreadedRunner()), "With ThreadedRunner", FIX)


class Bystander(Callback):
    """Handles every event and uses nothing, so that other callbacks run beside it in threads."""

    def __init__(self) -> None:
        self.name = "!"  # first in the order, so that it runs in the main thread and the others do not

    def on_fit_begin(self) -> None:
        """Do nothing."""

    on_fit_end = on_epoch_begin = on_epoch_end = on_step_begin = on_step_end = on_fit_begin
    on_loss_begin = on_backward_begin = on_backward_end = on_fit_begin
