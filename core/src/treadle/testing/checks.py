"""The checks that every callback has to pass, one function each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from treadle.access import Write, checked, overlaps
from treadle.callback import Callback
from treadle.dispatch.registration import CallbackManager
from treadle.dispatch.runners import LinearRunner, ThreadedRunner
from treadle.errors import ArgumentValueError, TreadleError, did_you_mean
from treadle.ordering.graph import callback_graph
from treadle.ordering.handlers import handlers
from treadle.state.random_state import RandomState
from treadle.testing.auditing import breach_of
from treadle.testing.changes import Moment
from treadle.testing.comparing import differs, entry, written_below_cbstate
from treadle.testing.findings import DoesNotApply, Finding
from treadle.testing.freeze import frozen, same
from treadle.testing.report import FAILED, PASSED, SKIPPED, CheckResult
from treadle.testing.resuming import Capture, FromMemory, not_plain
from treadle.testing.run import Run
from treadle.testing.subject import EPOCHS, Subject, seeded


def declarations(subject: Subject) -> None:
    """Its declarations are valid."""
    again = subject.make()
    if again is subject.callback:
        raise Finding("the function gave the same callback twice; it has to make a new one at each call.")
    if again.name != subject.name or checked(again.state_access, again.name) != subject.declared:
        raise Finding("two callbacks made alike differ in their name or state_access.")
    callback_graph([subject.callback, *subject.partners_made()])


def handles(subject: Subject) -> None:
    """Its handlers match their events."""
    CallbackManager([subject.callback])
    if not handlers(subject.callback):
        raise Finding("it has no handler, so it never does anything: def on_step_end(self, learner): ...")


def init(subject: Subject) -> None:
    """`on_init` can run again."""
    if "on_init" not in handlers(subject.callback):
        raise DoesNotApply("it has no on_init.")
    with seeded():
        run = subject.run()
        assert run.callback is not None
        own, before = frozen(run.callback.state_dict()), Moment(run.learner)
        run.learner.set_callbacks(run.learner.callbacks)
        changes = before.changes(Moment(run.learner), strict=False)
        if changes:
            raise Finding(f"a second on_init changed {', '.join(str(change) for change in changes)}.")
        if not same(own, frozen(run.callback.state_dict())):
            raise Finding("a second on_init changed what state_dict gives.")


def trains(subject: Subject) -> None:
    """A toy training runs, and every handler is called."""
    recorded = subject.recorded
    if recorded.error is not None:
        raise Finding(told(recorded.error)) from recorded.error
    silent = [name for name in handlers(subject.callback) if name not in {*recorded.record.ran, *subject.unused_ok}]
    if silent:
        raise Finding(
            f"{EPOCHS} epochs of training and validation did not call {', '.join(silent)}. Explain each: "
            f'unused_ok={{"{silent[0]}": "why"}}'
        )


def access(subject: Subject) -> None:
    """It uses what it declares, and nothing else."""
    _need_training(subject)
    unused = {path: why for path, why in subject.recorded.record.unused().items() if path not in subject.unused_ok}
    if unused:
        lines = [f"`{path}` {why}." for path, why in unused.items()]
        raise Finding(
            f"{' '.join(lines)} If it is used where a toy training does not come: "
            f'unused_ok={{"{next(iter(unused))}": "why"}}'
        )


def changes_only_what_it_declares(subject: Subject) -> None:
    """What it does not declare `Write` stays as it was."""
    _need_training(subject)
    breaches = subject.recorded.watch.breaches.items()
    own = [
        breach_of(callback, hook, list(changes.values()))
        for (callback, hook), changes in breaches
        if callback in subject.recorded.watch.records
    ]
    if own:
        raise Finding("\n".join(map(str, own)))


def watching(subject: Subject) -> None:
    """Watching changes nothing: the weights are the same bits with and without it."""
    outside = [path for path, mode in subject.declared.items() if mode is Write and not overlaps(path, "cbstate")]
    if outside:
        raise DoesNotApply(f"it declares a Write of {', '.join(outside)}.")

    def trained(with_it: bool) -> tuple[Run, RandomState]:
        with seeded():
            return subject.run(with_it=with_it).fit(EPOCHS), RandomState()

    (with_it, random_after), (without, expected) = trained(True), trained(False)
    assert with_it.result is not None
    cancelled = with_it.result.cancelled is not None
    steps, usual = with_it.trail.steps, without.trail.steps
    for number, (own, plain) in enumerate(zip(steps, usual, strict=False), 1):
        if not all(map(torch.equal, own, plain)):
            raise Finding(f"after step {number} the weights are others than without it.")
    if cancelled:
        return
    if len(steps) != len(usual):
        raise DoesNotApply(f"it cancels steps or epochs: {len(steps)} of {len(usual)} steps came to their end.")
    if not same(frozen(random_states(random_after)), frozen(random_states(expected))):
        raise Finding("after the fit the random generators stand elsewhere than without it.")


def state(subject: Subject) -> None:
    """What a checkpoint keeps of it is plain, and a new callback goes on from it."""
    with seeded():
        first = subject.run()
        capture = Capture(first.members)
        first.learner.add_callback(capture)
        first.fit(EPOCHS)
    checkpoint = capture.taken
    if checkpoint is None:
        raise DoesNotApply("it ends the fit in its first epoch, so there is nothing to go on from.")
    own = checkpoint.states[0]
    if odd := next(not_plain(own), None):
        raise Finding(f"state_dict gives {odd}. {KEPT}")
    for path in written_below_cbstate(subject):
        if odd := next(not_plain(entry(checkpoint.cbstate, path)), None):
            raise Finding(f"`{path}` holds {odd}. {KEPT} Or let it have state_dict and load_state_dict of its own.")
    with seeded():
        second = subject.run()
        second.trail.steps = first.trail.steps[: checkpoint.progress["steps"]]
        FromMemory(second.learner, second.members, checkpoint)
        assert second.callback is not None
        if not same(frozen(second.callback.state_dict()), frozen(own)):
            raise Finding("after load_state_dict, state_dict gives something else than was loaded.")
        second.fit(EPOCHS)
    differs(first, second, "a new callback that goes on from its state", subject)


#: What a state may hold.
KEPT = "A checkpoint keeps tensors, None, bool, int, float and str, and lists, tuples and dictionaries of these."


def runners(subject: Subject) -> None:
    """Handlers in threads give the same result."""

    def trained(runner: LinearRunner | ThreadedRunner) -> Run:
        with seeded():
            return subject.run(Bystander(), runner=runner).fit(EPOCHS)

    differs(trained(LinearRunner()), trained(ThreadedRunner()), "ThreadedRunner", subject)


class Bystander(Callback):
    """Handles every event and uses nothing, so that others run beside it in threads."""

    def __init__(self) -> None:
        self.name = "!"  # first in the order, so that the others are those that are not run by the main thread

    def on_fit_begin(self) -> None:
        """Do nothing, and so in the others."""

    on_fit_end = on_epoch_begin = on_epoch_end = on_step_begin = on_step_end = on_fit_begin
    on_loss_begin = on_backward_begin = on_backward_end = on_fit_begin


#: The checks by name, in the order in which they are made.
CHECKS: dict[str, Callable[[Subject], None]] = {
    "declarations": declarations,
    "handlers": handles,
    "init": init,
    "training": trains,
    "access": access,
    "audit": changes_only_what_it_declares,
    "watching": watching,
    "state": state,
    "runners": runners,
}


#: Those without which no learner can be built, and so nothing else be checked.
BASIC = ("declarations", "handlers")


def title(name: str) -> str:
    """What a check checks, as a short sentence."""
    return str(CHECKS[name].__doc__).splitlines()[0].rstrip(".")


def run_check(name: str, subject: Subject) -> CheckResult:
    """Run one check.

    Args:
        name: Its name.
        subject: The callback.

    Raises:
        ArgumentValueError: if there is no such check.
    """
    if name not in CHECKS:
        raise ArgumentValueError(f"There is no check called {name!r}. {did_you_mean(name, CHECKS)}")
    check = CHECKS[name]
    try:
        check(subject)
    except DoesNotApply as reason:
        return CheckResult(name, title(name), SKIPPED, str(reason))
    except Finding as finding:
        return CheckResult(name, title(name), FAILED, str(finding))
    except Exception as error:  # of the callback itself
        return CheckResult(name, title(name), FAILED, told(error))
    return CheckResult(name, title(name), PASSED)


def _need_training(subject: Subject) -> None:
    if subject.recorded.error is not None:
        raise DoesNotApply("the toy training did not come to its end, see `training`.")


def told(error: BaseException) -> str:
    """An exception with its notes."""
    message = str(error) if isinstance(error, TreadleError) else f"{type(error).__name__}: {error}"
    return "\n".join([message, *getattr(error, "__notes__", ())])


def random_states(state: RandomState) -> list[Any]:
    """The states of the generators that everybody shares."""
    return [state.python, state.numpy, state.torch, state.devices]
