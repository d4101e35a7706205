"""Is a training the same with a callback that only watches and without it?"""

import torch

from treadle.access import Write, accesses, overlaps
from treadle.operations import Operation
from treadle.ordering.handlers import handlers
from treadle.state.random_state import RandomState
from treadle.testing.comparison.frozen import frozen, same
from treadle.testing.comparison.run import Run
from treadle.testing.kinds import EPOCHS
from treadle.testing.report import Checked, DoesNotApply, Finding
from treadle.testing.subject import Subject, seeded

FIX = (
    "Fix: leave the learner's state and the random generators as they are; draw from a generator of your own:\n"
    "    torch.Generator(), random.Random()"
)
ONLY = "Fix: let it run in every process:\n    main_process_only = False"


def check(subject: Subject) -> Checked:
    """Watching changes nothing: the weights are the same bits with and without it.

    How: A net with dropout and a batch norm trains on shuffled data, with the callback and without it. It does not
        apply where a `Write` outside of `cbstate` is declared, where steps are cancelled, or where the weights differ
        and an operation is handled: so a callback says that it changes the training. What takes part on the main
        process only may not, since the others would not.
    Guarantee: 3, watching changes nothing.
    Message: After step ... the weights are different from those without it.
    Message: After the fit the random generators are in another state than without it.
    Message: The training is another one with it, and it takes part on the main process only.
    """
    outside = sorted(path for path in accesses(subject.callback, Write) if not overlaps(path, "cbstate"))
    if outside:
        raise DoesNotApply(f"It declares a Write of {', '.join(outside)}.")
    (run, generators), (usual, expected) = trained(subject, with_callback=True), trained(subject, with_callback=False)
    steps, usual_steps = run.trail.steps, usual.trail.steps
    different = [
        number
        for number, (weights, usual_weights) in enumerate(zip(steps, usual_steps, strict=False), 1)
        if not all(map(torch.equal, weights, usual_weights))
    ]
    stopped = run.result is not None and run.result.cancelled is not None
    shorter = not stopped and len(steps) != len(usual_steps)
    drawn = not stopped and not same(generators, expected)
    if different or drawn or shorter:
        if shorter or run.trail.begun != len(steps):
            raise DoesNotApply(
                f"It cancels steps or epochs: {len(steps)} of {len(usual_steps)} steps ran to their end."
            )
        if subject.callback.main_process_only:
            raise Finding(f"The training is another one with it, and it takes part on the main process only.\n{ONLY}")
        if operations := [name for name, handler in handlers(run.members[0]).items() if is_operation(handler.hook)]:
            raise DoesNotApply(f"It handles {', '.join(operations)}, which may change the training.")
    if different:
        raise Finding(f"After step {different[0]} the weights are different from those without it.\n{FIX}")
    if drawn:
        raise Finding(f"After the fit the random generators are in another state than without it.\n{FIX}")
    if not steps:
        raise DoesNotApply("It ends the fit in its first step, so there are no weights to compare.")
    return Checked(len(steps), "steps")


def is_operation(hook: type) -> bool:
    """Whether it is an operation: whoever wraps or overrides one says by it that the training may be another."""
    return issubclass(hook, Operation)


def trained(subject: Subject, *, with_callback: bool) -> tuple[Run, object]:
    """A training, and the state in which it left the random generators."""
    with seeded():
        run = subject.run(with_callback=with_callback).fit(EPOCHS)
        state = RandomState()
        return run, frozen([state.python, state.numpy, state.torch, state.devices])
