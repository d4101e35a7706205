"""Can `on_init` run again, as it does when callbacks join or leave?"""

from treadle.ordering.handlers import handlers
from treadle.testing.comparison.changes import ATTRIBUTES, Moment
from treadle.testing.comparison.frozen import frozen, same
from treadle.testing.report import Checked, DoesNotApply, Finding
from treadle.testing.subject import Subject, seeded

FIX = "Fix: on_init runs again when callbacks join or leave; let it give the same state each time."


def check(subject: Subject) -> Checked:
    """`on_init` can run again.

    How: It runs twice, as it does when callbacks join or leave, and all state is compared.
    Guarantee: 1, the order follows from the declarations: who joins first changes nothing.
    Message: A second on_init changed ...
    Message: A second on_init changed the values of state_dict.
    """
    if "on_init" not in handlers(subject.callback):
        raise DoesNotApply("It has no on_init.")
    with seeded():
        run = subject.run()
        assert run.callback is not None
        state, before = frozen(run.callback.state_dict()), Moment(run.learner)
        run.learner.set_callbacks(run.learner.callbacks)
        changes = before.changes(Moment(run.learner), strict=False)
        changes = [change for change in changes if change.part.path != ATTRIBUTES]
        if changes:
            raise Finding(f"A second on_init changed {', '.join(map(str, changes))}.\n{FIX}")
        if not same(state, frozen(run.callback.state_dict())):
            raise Finding(f"A second on_init changed the values of state_dict.\n{FIX}")
        return Checked(2, "calls of on_init")
