"""`Scope`: what a fit, an epoch or a step has set, and how it is put back on every way out."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch

from treadle.errors import ArgumentValueError, ThreadError
from treadle.loop.progress import ObserverErrors
from treadle.loop.update.updates import Updates
from treadle.state.models import clear_gradients, gradients_of, put_back_gradients
from treadle.state.modes import modes_of, put_back_modes, set_modes
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState, sources_of
from treadle.state.run.objects.undos import undo_all

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.loop.length import Length
    from treadle.phases import Phase


class Scope:
    """What a stretch of the loop has set, with what was there before.

    It stands in `learner.position.scopes` from before the first change until everything is put back, so what an
    interrupt keeps one place from putting back, another one further out puts back.

    Args:
        phase: The phase of the epoch or step that it belongs to, or None for a fit.
        operation: Whether it is that of a whole operation, in which the epoch or step opens a scope of its own.
        inner: Whether an epoch that begins in it is inside another, and not the fit's own.
        owner: The object whose end puts it back, where that is a `with` block of the user; default: none.

    Attributes:
        nested: Whether it is inside of an epoch or a step.
    """

    __slots__ = ("inner", "nested", "operation", "owner", "phase", "thread", "undo")

    def __init__(
        self,
        learner: Learner,
        phase: Phase | None = None,
        *,
        operation: bool = False,
        inner: bool = True,
        owner: object = None,
    ) -> None:
        scopes = learner.position.scopes
        outer = scopes[-1] if scopes else None
        self.phase, self.operation, self.inner = phase, operation, inner
        self.nested: bool = outer is not None and (outer.nested or (outer.inner and not self.belongs_to(outer)))
        self.owner: Callable[[], object] | None = None if owner is None else weakref.ref(owner)
        self.thread = get_ident()
        self.undo: list[Callable[[], object]] = []
        scopes.append(self)

    def belongs_to(self, outer: Scope) -> bool:
        """Whether it is that of the epoch or step that the operation around it runs."""
        return outer.operation and not self.operation and outer.phase is self.phase

    def set(self, owner: object, **values: Any) -> None:
        """Set attributes, until it is put back."""
        for name, value in values.items():
            self.undo.append(functools.partial(setattr, owner, name, getattr(owner, name)))
            setattr(owner, name, value)

    def put_back(self) -> None:
        """Put everything back, the last change first; as often as needed."""
        undo_all(self.undo)


class entered:
    """The loop is entered here: `with entered(learner), entered(learner):` puts back all scopes that are left.

    In two places, since an interrupt may come while the first one puts back.

    Raises:
        ThreadError: if another thread is in the loop of this learner.
    """

    __slots__ = ("depth", "learner")

    def __init__(self, learner: Learner) -> None:
        self.learner = learner

    def __enter__(self) -> int:
        self.depth = enter(self.learner)
        return self.depth

    def __exit__(self, *_: object) -> None:
        unwind(self.learner, self.depth)


def enter(learner: Learner, owner: object = None) -> int:
    """Check that the loop may be entered here; returns how many scopes are open.

    Args:
        owner: The object of the user's `with` block, which can be entered once at a time; default: none.
    """
    scopes = learner.position.scopes
    if scopes:
        first = scopes[0]
        if first.owner is not None and first.owner() is None:  # an interrupt came as its `with` block ended
            unwind(learner, 0)
        elif first.thread != get_ident():
            raise ThreadError(SIDE_BY_SIDE if first.thread == NOBODY else SECOND_THREAD)
        if owner is not None and any(scope.owner is not None and scope.owner() is owner for scope in scopes):
            name = type(owner).__name__
            raise ArgumentValueError(
                f"The same {name} was entered again, inside of its own block.\n"
                f"Fix: make one for each block:\n    with {name}(learner, phase): ..."
            )
    return len(scopes)


@contextmanager
def closed(learner: Learner) -> Iterator[None]:
    """Nobody enters the loop meanwhile, from whatever thread: handlers run side by side."""
    outermost = learner.position.scopes[:1]
    threads = [scope.thread for scope in outermost]
    try:
        for scope in outermost:
            scope.thread = NOBODY
        yield
    finally:
        for scope, thread in zip(outermost, threads, strict=True):
            scope.thread = thread


def unwind(learner: Learner, depth: int) -> None:
    """Put back all scopes but the outermost `depth` ones."""
    scopes = learner.position.scopes
    while len(scopes) > depth:
        try:
            scopes[-1].put_back()
        except Exception:
            scopes.pop()
            raise
        scopes.pop()  # not after an interrupt: whoever unwinds next does it again


def open_fit(learner: Learner, length: Length, data: PropDict) -> None:
    """Say in the learner what is run and over which data."""
    position = learner.position
    scope = Scope(learner, inner=False)
    if scope.nested:
        keep_outer(scope, learner)
        scope.set(position, updates=Updates())
        scope.set(learner.progress, accumulated=0)
    if data is not learner.data:
        scope.set(position, passes={})  # or it would hold the data for as long as the learner lives
    scope.set(learner, data=data)
    # A handler may have turned them off, and an interrupt kept it from turning them on again.
    scope.undo.append(functools.partial(torch.set_grad_enabled, torch.is_grad_enabled()))
    length.began = learner.progress.steps
    scope.set(position, length=length, phases=length.phases, rounds=0, observer_errors=ObserverErrors())
    if position.resumption is not None:
        position.resumption.begin(length)
        position.resumed = True


def open_operation(learner: Learner, phase: Phase) -> Scope:
    """The scope of an epoch or a step with all that callbacks put around it."""
    scope = Scope(learner, phase, operation=True)
    if scope.nested:
        keep_outer(scope, learner)
    return scope


def open_phase(learner: Learner, phase: Phase, owner: object, *, step: bool = False) -> Scope:
    """The scope of an epoch or a step: the learner's models are ready for the phase.

    A training phase wants models in training mode, a validation phase in eval mode, without
    gradients and without a trace in the random generators; see `Phase.training`.
    """
    position, scopes = learner.position, learner.position.scopes
    alone = not scopes or not scopes[-1].operation
    scope, around = Scope(learner, phase, owner=owner), position.at_start
    if scope.nested:
        if alone:
            keep_outer(scope, learner)
        if phase.training is not False:
            scope.undo.append(functools.partial(put_back_gradients, gradients_of(learner)))
            scope.set(position, updates=Updates())
            clear_gradients(learner)
            scope.set(learner.progress, accumulated=0)
    scope.set(learner.progress, phase=phase, step=0)
    scope.set(position, skipped=0, partial=False, at_entry=None, at_start=None, modes=None, stepping=False)
    if phase.training is not None:
        position.modes = modes_of(learner.models)
        scope.undo.append(functools.partial(put_back_modes, position.modes))
        scope.undo.append(functools.partial(torch.set_grad_enabled, torch.is_grad_enabled()))
        set_modes(learner.models, training=phase.training)
        torch.set_grad_enabled(phase.training)
    if phase.training is False:
        # A step in an epoch looks for no other generators than that did.
        known = around.random.generators if step and around is not None else None
        position.at_entry = state = RandomState(sources_of(learner) if known is None else known)
        scope.undo.append(state.put_back)
    return scope


def keep_outer(scope: Scope, learner: Learner) -> None:
    """Leave what is under way around a scope as it was: the step's state, the epoch's number, what is resumed."""
    scope.set(learner, step=learner.step)
    scope.set(learner.progress, epoch=learner.progress.epoch)
    scope.set(learner.position, own=None, resumption=None, rounds=learner.position.rounds)


#: In place of a thread's number, where no thread may enter the loop.
NOBODY = 0

SIDE_BY_SIDE = (
    "The loop of this learner was entered by a handler that runs side by side with others, in threads.\n"
    "Fix: declare it; the handler is then called on its own, in the thread of the fit, with `learner.loop`:\n"
    '    state_access = {"loop": Write}'
)
SECOND_THREAD = (
    "The loop of this learner was entered from a second thread, while another one is in it.\n"
    "Fix: use one learner in one thread at a time. A handler that runs epochs or steps declares it, and is then called "
    'in the thread of the fit:\n    state_access = {"loop": Write}'
)
