"""What does a checkpoint keep of it, and does a new callback go on from there?"""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from treadle.callback import Callback
from treadle.events import hookimpl
from treadle.loop.progress import COUNTERS
from treadle.phases import Phase, TrainingPhase
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState
from treadle.testing.frozen import frozen, same
from treadle.testing.report import DoesNotApply, Finding
from treadle.testing.run import entry, written
from treadle.testing.subject import EPOCHS, Subject, seeded

if TYPE_CHECKING:
    from treadle.learner import Learner

#: What a state may hold beside tensors, lists, tuples and dictionaries.
PLAIN = (type(None), bool, int, float, str, bytes)

#: What a state may hold.
KEPT = (
    "Fix: keep what a checkpoint can hold: tensors, None, bool, int, float and str, and lists, tuples and "
    "dictionaries of these."
)
FIX = "return from state_dict all that its handlers go on from, and take it over in load_state_dict."


def check(subject: Subject) -> None:
    """What a checkpoint keeps of it is plain, and a new callback goes on from it."""
    with seeded():
        first = subject.run()
        capture = Capture(first.members)
        first.learner.add_callback(capture)
        first.fit(EPOCHS)
    checkpoint = capture.taken
    if checkpoint is None:
        raise DoesNotApply("It ends the fit in its first epoch, so there is no state to go on from.")
    state = checkpoint.states[0]
    if odd := next(not_plain(state), None):
        raise Finding(f"state_dict gives {odd}.\n{KEPT}")
    for path in written(subject.callback):
        if odd := next(not_plain(entry(checkpoint.cbstate, path)), None):
            raise Finding(f"`{path}` holds {odd}.\n{KEPT} Or give it state_dict and load_state_dict.")
    with seeded():
        second = subject.run()
        second.trail.steps = first.trail.steps[: checkpoint.progress["steps"]]
        FromMemory(second.learner, second.members, checkpoint)
        assert second.callback is not None
        if not same(frozen(second.callback.state_dict()), frozen(state)):
            raise Finding(f"After load_state_dict, state_dict gives something else than was loaded.\nFix: {FIX}")
        second.fit(EPOCHS)
    first.compare(second, "Resumed from a checkpoint", FIX)


class Capture(Callback):
    """Takes a checkpoint right before the second epoch of training.

    Args:
        callbacks: Whose states are kept.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.name = "!"  # first in the order, and so outermost
        self._callbacks, self._epochs = callbacks, 0
        self.taken: Checkpoint | None = None

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: TrainingPhase) -> Generator[None, Any, Any]:
        self._epochs += 1
        if self._epochs == 2:
            self.taken = Checkpoint(learner._learner, self._callbacks)
        return (yield)


class Checkpoint:
    """A run as it is between two epochs.

    Args:
        learner: The learner.
        callbacks: The callbacks whose states are kept.
    """

    def __init__(self, learner: Learner, callbacks: Sequence[Callback]) -> None:
        self.states = [copy.deepcopy(callback.state_dict()) for callback in callbacks]
        self.cbstate = {name: gathered(value) for name, value in vars(learner.cbstate).items()}
        self.models = [copy.deepcopy(model.state_dict()) for model in learner.models]
        self.optimizers = [copy.deepcopy(optimizer.state_dict()) for optimizer in learner.optimizers]
        self.progress = {name: getattr(learner.progress, name) for name in COUNTERS}
        self.rounds, self.clear_gradients = learner.position.rounds, learner.position.clear_gradients
        self.random = RandomState(vars(learner.data).values())

    def put(self, learner: Learner, callbacks: Sequence[Callback]) -> None:
        """Give another learner and its callbacks this state."""
        for name, value in self.cbstate.items():
            put(vars(learner.cbstate), name, value)
        for callback, state in zip(callbacks, self.states, strict=True):
            callback.load_state_dict(copy.deepcopy(state))
        for model, state in zip(learner.models, self.models, strict=True):
            model.load_state_dict(state)
        for optimizer, state in zip(learner.optimizers, self.optimizers, strict=True):
            optimizer.load_state_dict(copy.deepcopy(state))
        for name, counter in self.progress.items():
            setattr(learner.progress, name, counter)
        learner.position.rounds, learner.position.clear_gradients = self.rounds, self.clear_gradients
        now, kept = RandomState(vars(learner.data).values()), self.random
        now.python, now.numpy, now.torch, now.devices = kept.python, kept.numpy, kept.torch, kept.devices
        now.own = [(generator, state) for (generator, _), (_, state) in zip(now.own, kept.own, strict=True)]
        now.put_back()


class FromMemory:
    """Lets a learner's next fit go on from a checkpoint, as a resumed run does.

    Args:
        learner: The learner.
        callbacks: Its callbacks, in the order of the checkpoint's.
        checkpoint: The checkpoint.
    """

    def __init__(self, learner: Learner, callbacks: Sequence[Callback], checkpoint: Checkpoint) -> None:
        self._learner, self._callbacks, self._checkpoint = learner, callbacks, checkpoint
        checkpoint.put(learner, callbacks)
        learner.position.resumption = self

    def begin(self, n: int, phases: tuple[Phase, ...]) -> None:
        """See `Resumption`."""

    def restore(self) -> None:
        """Put the state back after `FitBegin` was handled."""
        self._checkpoint.put(self._learner, self._callbacks)
        self._learner.position.resumption = None

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """No epoch was under way."""
        return None


def has_state(value: Any) -> bool:
    """Whether an object tells its state and takes it back."""
    own = (getattr(value, name, None) for name in ("state_dict", "load_state_dict"))
    return not isinstance(value, type) and all(map(callable, own))


def gathered(value: Any) -> Any:
    """What an entry of `cbstate` holds."""
    if has_state(value):
        return State(copy.deepcopy(value.state_dict()), value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: gathered(item) for name, item in value.items()}
    return copy.deepcopy(value)


class State:
    """The state of an object in `cbstate`.

    Args:
        state: What its `state_dict` gave.
        of: The object.
    """

    def __init__(self, state: Any, of: Any) -> None:
        self.state, self.kind = state, type(of)


def put(entries: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Give an entry back what `gathered` gave. An object that is there stays the same object."""
    if isinstance(value, State):
        there: Any = entries.get(name)
        if type(there) is not value.kind:
            there = entries[name] = value.kind()
        there.load_state_dict(copy.deepcopy(value.state))
    elif isinstance(value, dict):
        there = entries.get(name)
        if not isinstance(there, MutableMapping):
            there = entries[name] = PropDict()
        for key, item in value.items():
            put(there, key, item)
    else:
        entries[name] = copy.deepcopy(value)


def not_plain(value: Any, where: str = "") -> Iterator[str]:
    """What in a state is no tensor and no plain value, and where."""
    if isinstance(value, State):
        yield from not_plain(value.state, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) not in (str, int):
                yield f"a key of type {type(key).__name__}{where}"
            yield from not_plain(item, f"{where} under {key!r}")
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            yield from not_plain(item, f"{where} at {i}")
    elif not isinstance(value, torch.Tensor) and type(value) not in PLAIN:
        yield f"a {type(value).__name__}{where}"
