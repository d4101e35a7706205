"""Does each handler match its event or operation?"""

from treadle.dispatch.registration import CallbackManager
from treadle.ordering.handlers import handlers
from treadle.testing.report import Finding
from treadle.testing.subject import Subject


def check(subject: Subject) -> None:
    """Its handlers match their events."""
    CallbackManager([subject.callback])
    if not handlers(subject.callback):
        raise Finding(
            "It has no handler, so it does nothing.\nFix: define one:\n    def on_step_end(self, learner): ..."
        )
