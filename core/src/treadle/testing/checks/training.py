"""Does a toy training run, and call every handler?"""

from treadle.ordering.handlers import handlers
from treadle.testing.kinds import EPOCHS
from treadle.testing.report import Checked, Finding, message_of
from treadle.testing.subject import Subject

#: In how many of the training steps a number is taken, for a remark.
OFTEN = 0.5


def check(subject: Subject) -> Checked:
    """A toy training runs, and every handler is called.

    How: Two epochs of training and validation. A remark names a handler that takes a number from a tensor in every
        step, for which a step waits on an accelerator.
    Guarantee: 6, the budget: no event is dispatched without a handler.
    Message: ... epochs of training and validation did not call ...
    """
    record = subject.record
    if record.error is not None:
        raise Finding(message_of(record.error)) from record.error
    called = {call.hook.hook for call, _, _ in record.calls}
    silent = [name for name in handlers(subject.callback) if name not in called | subject.unused_ok.keys()]
    if silent:
        raise Finding(
            f"{EPOCHS} epochs of training and validation did not call {', '.join(silent)}.\n"
            f'Fix: remove what is never called, or give the reason:\n    unused_ok={{"{silent[0]}": "why"}}'
        )
    remarks = [
        f"{name} takes a number from a tensor in every step, and on an accelerator the step waits for it.\n"
        f"Fix: keep the tensor, detached, until somebody looks at the number; or start its copy and read it later:\n"
        f"    from treadle.authoring import DeviceNumber\n    self.number = DeviceNumber(learner.step.loss)"
        for name in dict.fromkeys(name for name, _ in sorted(record.numbers))
        if sum(other == name for other, _ in record.numbers) >= OFTEN * record.steps
    ]
    covered = ("one model", "with validation") if subject.learner is None else ("the learner of its author",)
    return Checked(len(record.calls), "handler calls", remarks, covered)
