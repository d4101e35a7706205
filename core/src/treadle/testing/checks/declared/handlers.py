"""Does each handler match its event or operation?"""

from treadle.dispatch.registration import CallbackManager
from treadle.ordering.handlers import handlers
from treadle.testing.report import Checked, Finding
from treadle.testing.subject import Subject


def check(subject: Subject) -> Checked:
    """Its handlers match their events.

    How: By the validation of pluggy: each handler is that of an event or an operation, with its arguments and phases.
    Guarantee: 2, declarations are true.
    Message: It has no handler, so it does nothing.
    """
    CallbackManager([subject.callback])
    found = handlers(subject.callback)
    if not found:
        raise Finding(
            "It has no handler, so it does nothing.\nFix: define one:\n    def on_step_end(self, learner): ..."
        )
    return Checked(len(found), "handlers")
