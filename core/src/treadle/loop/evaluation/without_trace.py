"""`run_without_trace`: an epoch that is not a part of the run, after which everything is as it was."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

from treadle.errors import CancelFittingException, NotSaveableError
from treadle.loop.loop import epoch, not_under_way
from treadle.loop.scope import Scope, entered, keep_outer
from treadle.state.run.callback_states import state_of
from treadle.state.run.objects.preserved import remember
from treadle.state.run.values import flatten

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.learner import Learner
    from treadle.phases import Phase


def run_without_trace(
    learner: Learner, phase: Phase, data: Any, collect: Callable[[Any], object], guests: Iterable[Callback]
) -> None:
    """Run an epoch after which the learner is as it was.

    What the loop itself sets is put back by its scopes: the step, modes, gradient mode, random generators, progress.

    Args:
        collect: What is done with the learner whenever a step has ended.
        guests: The callbacks that take part and do not name the phase: what their `state_dict` holds is put back.
    """
    position = learner.position
    nested = bool(position.scopes)
    try:
        with entered(learner), entered(learner):
            scope = Scope(learner)
            keep_outer(scope, learner)
            scope.set(position, collect=collect, passes={}, taps={})
            scope.undo.append(remember([learner.cbstate], lazy=True))  # what a guest keeps there for others
            for callback in guests:
                if state := copy.deepcopy(state_of(callback)):
                    scope.undo.append(functools.partial(put_back, callback, state))
            epoch(learner, phase, data)
    except CancelFittingException as cancel:
        if nested:
            raise
        raise not_under_way(cancel) from cancel


def put_back(callback: Callback, state: dict[str, Any]) -> None:
    """Give a callback its state back, unless it has it: in the middle of an update, not every state can be loaded."""
    if not equal_states(state, callback.state_dict()):
        callback.load_state_dict(state)


def equal_states(first: Any, second: Any) -> bool:
    """Whether two states are known to be equal."""
    tensors: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = {}, {}
    try:
        equal = flatten(first, "state", tensors[0]) == flatten(second, "state", tensors[1])
    except NotSaveableError:
        return False
    pairs = [(tensors[0][name], tensors[1].get(name)) for name in tensors[0]]
    return equal and all(other is not None and torch.equal(tensor, other) for tensor, other in pairs)
