"""Does a toy training run, and call every handler?"""

from treadle.ordering.handlers import handlers
from treadle.testing.report import Finding, message_of
from treadle.testing.subject import EPOCHS, Subject


def check(subject: Subject) -> None:
    """A toy training runs, and every handler is called."""
    record = subject.record
    if record.error is not None:
        raise Finding(message_of(record.error)) from record.error
    called = {call.hook.hook for call, _ in record.calls}
    silent = [name for name in handlers(subject.callback) if name not in called | subject.unused_ok.keys()]
    if silent:
        raise Finding(
            f"{EPOCHS} epochs of training and validation did not call {', '.join(silent)}.\n"
            f'Fix: remove what is never called, or give the reason:\n    unused_ok={{"{silent[0]}": "why"}}'
        )
