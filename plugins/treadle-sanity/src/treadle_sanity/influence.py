"""Who changes a step, so that a trial of model and loss function alone may differ from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treadle import Callback, Write, accesses
from treadle.authoring import handlers, overlaps

#: The state of a step that decides what model and loss function get and give.
STATE = ("step.xs", "step.ys", "step.yhats", "step.loss")


def movers(learner: Any) -> list[Callable[[Any], Any]]:
    """The functions `move_data` of callbacks that, like `ToDevice`, apply it to every tensor of a batch."""
    return [callback.move_data for callback in learner.callbacks if callback.move_data and is_mover(callback)]


def influences(learner: Any) -> list[str]:
    """The names of the callbacks, other than movers, that change what is in a step or how it is made."""
    return [callback.name for callback in learner.callbacks if not is_mover(callback) and changes(callback)]


def is_mover(callback: Callback) -> bool:
    """Whether a callback applies its `move_data` to the batches."""
    return callback.move_data is not None and writes(callback, ("step.xs",))


def changes(callback: Callback) -> bool:
    """Whether a callback writes what is in a step, or has a part in how it is made."""
    own = handlers(callback)
    if "epoch" in own and not own["epoch"].wrapper:
        return True
    return writes(callback, STATE) or bool({"step", "forward", "loss"} & own.keys())


def writes(callback: Callback, paths: tuple[str, ...]) -> bool:
    """Whether a callback declares that it writes one of these paths."""
    return any(overlaps(written, path) for written in accesses(callback, Write) for path in paths)
