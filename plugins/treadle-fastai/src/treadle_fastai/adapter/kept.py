"""Gradients that a callback keeps for the next batch: beside whom that cannot be right."""

from __future__ import annotations

from typing import Any

import treadle
from treadle import Write
from treadle.authoring import handles, overlaps, unwrap
from treadle.errors import CallbackError
from treadle.events import UpdateBegin
from treadle.operations import FinalizeGradients

from treadle_fastai.callback import Callback

FIX = "Fix: leave one of them out; Accumulate of treadle-optim goes with all others:\n    Accumulate(4)"


def refuse_mixed(callback: Callback, learner: Any, *, allowed: bool, skipped: bool) -> None:
    """Refuse to keep gradients beside callbacks that make them whole, or that change what is not whole yet.

    Args:
        allowed: Whether the callback may look at the others.
        skipped: Whether the optimizer made no step in this batch, so that its gradients are a part of a sum.

    Raises:
        CallbackError: naming the others.
    """
    if not allowed:
        raise CallbackError(
            f"{callback.name} returned `skip_zero`, and whether that is possible depends on the other callbacks.\n"
            f'Fix: add to {type(callback).__name__}.state_access:\n    "callbacks": Read'
        )
    others = [other for other in learner.callbacks if unwrap(other) is not callback]
    whole = [other.name for other in others if handles(other, FinalizeGradients)]
    if whole:
        raise CallbackError(
            f"{callback.name} returned `skip_zero`, and {', '.join(whole)} makes the gradients of an update whole, "
            f"which would be mixed with those of the next batch, that are not.\n{FIX}"
        )
    early = [other.name for other in others if skipped and changes_gradients(other)]
    if early:
        raise CallbackError(
            f"{callback.name} adds up the gradients of several batches by `skip_step` and `skip_zero`, and "
            f"{', '.join(early)} got those of a part of them at `on_update_begin`, where gradients have to be whole.\n"
            f"{FIX}"
        )


def changes_gradients(callback: treadle.Callback) -> bool:
    """Whether a callback stands where the gradients are whole, and may change them, or says that it looks at them."""
    return handles(callback, UpdateBegin) and any(
        overlaps(path, "step.grads") and (permission is Write or path.startswith("step"))
        for path, permission in callback.state_access.items()
    )
