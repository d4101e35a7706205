"""What a step's state begins with: a batch's inputs and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from treadle.arguments import function
from treadle.errors import DataError
from treadle.state.views import learner_of

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

EXAMPLE = 'Learner(..., split=lambda batch: (batch["image"], batch["label"]))'


def split_batch(learner: Learner, batch: Any, phase: Phase) -> dict[str, Any]:
    """What the state of a step of training or validation begins with: `xs` and `ys`, or `xs` alone.

    A batch is a pair, or what the learner's `split` makes one of; where the learner has no loss function, since the
    model's output carries the loss, a mapping is all inputs. A phase of one's own can use it, too.

    Raises:
        DataError: if it is none of these.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> learner = toy_learner()
        >>> split_batch(learner, ("inputs", "targets"), TrainingPhase())
        {'xs': 'inputs', 'ys': 'targets'}
        >>> learner.split = lambda batch: (batch["image"], batch["label"])
        >>> split_batch(learner, {"image": 1, "label": 2, "id": 3}, TrainingPhase())
        {'xs': 1, 'ys': 2}
    """
    return state_of_batch(learner_of(learner), batch, phase)


def state_of_batch(learner: Learner, batch: Any, phase: Phase) -> dict[str, Any]:
    """`split_batch`, for a learner and not a view of it: this is every step."""
    if learner.split is None and isinstance(batch, (tuple, list)) and len(batch) == 2:
        return {"xs": batch[0], "ys": batch[1]}
    if learner.split is not None:
        return by_function(learner.split, batch)
    if learner.lossfn is None and isinstance(batch, Mapping):
        return {"xs": batch}
    pairs = "pairs (xs, ys)" if learner.lossfn is not None else "pairs (xs, ys) or mappings"
    raise DataError(
        f"{type(phase).__name__} needs batches that are {pairs}, got a {described(batch)}.\n"
        f"Fix: let the loader yield inputs and targets, several inputs as a tuple or a mapping: ((x1, x2), ys); or say "
        f"which part of a batch is which; or write a phase of your own:\n    {EXAMPLE}"
    )


def state_of_inputs(learner: Learner, batch: Any, phase: Phase) -> dict[str, Any]:
    """What the state of a step of prediction begins with: as `split_batch`, but a batch may also be inputs alone.

    Raises:
        DataError: if it is a tuple of several inputs, which could as well be inputs and targets.
    """
    if learner.split is not None:
        return by_function(learner.split, batch)
    if not isinstance(batch, (tuple, list)):
        return {"xs": batch}
    if len(batch) == 2:
        return {"xs": batch[0], "ys": batch[1]}
    if len(batch) == 1:  # as the loader of a `TensorDataset` of inputs yields it
        return {"xs": batch[0]}
    raise DataError(
        f"{type(phase).__name__} needs batches that are inputs, or pairs (xs, ys), got a {described(batch)}.\n"
        f"Fix: let the loader yield several inputs as a mapping, or say which part of a batch is which:\n"
        f"    Learner(..., split=lambda batch: (batch[:2], batch[2]))"
    )


def by_function(split: Callable[[Any], Any], batch: Any) -> dict[str, Any]:
    """The inputs and targets that the user's function makes of a batch."""
    try:
        parts = split(batch)
    except Exception as error:
        error.add_note(f"Raised by the learner's `split`, which was called with a {described(batch)}.")
        raise
    if not isinstance(parts, (tuple, list)) or len(parts) != 2:
        raise DataError(
            f"The learner's `split` returned a {described(parts)}, not a pair (xs, ys).\n"
            f"Fix: return inputs and targets; without targets, None in their place:\n    {EXAMPLE}"
        )
    return {"xs": parts[0], "ys": parts[1]}


def as_split(split: Any) -> Callable[[Any], Any] | None:
    """A function of a batch, or None.

    Raises:
        ArgumentTypeError: if it is neither.
    """
    return None if split is None else function(split, "split", EXAMPLE, takes=["batch"])


def described(batch: Any) -> str:
    """What a batch is, in a message."""
    kind = type(batch).__name__
    if isinstance(batch, torch.Tensor):
        return f"{kind} of shape {tuple(batch.shape)}"
    if isinstance(batch, Mapping):
        return f"{kind} of {', '.join(map(repr, batch)) or 'nothing'}"
    return f"{kind} of {len(batch)}" if isinstance(batch, (tuple, list)) else kind
