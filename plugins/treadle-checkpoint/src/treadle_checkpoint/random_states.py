"""The states of all random generators, as a tree of plain values and tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from loguru import logger
from treadle.state.random_state import RandomState

from treadle_checkpoint.errors import MismatchError


def as_tree(state: RandomState) -> dict[str, Any]:
    """A state as a tree."""
    return {
        "python": state.python,
        "numpy": state.numpy,
        "torch": state.torch,
        "devices": state.devices,
        "own": [own for _, own in state.own],
    }


def from_tree(tree: dict[str, Any], sources: Iterable[Any], *, own: bool = True) -> RandomState:
    """The state that a tree tells, for the generators that there are now.

    Args:
        tree: What `as_tree` gave.
        sources: The data loaders, whose own generators count as well.
        own: Whether these must be the ones that were saved. Default: yes; else they are left as they are, if they
            are more or fewer.

    Raises:
        MismatchError: if the loaders hold more or fewer generators of their own.
    """
    state = RandomState(sources)
    if len(state.own) == len(tree["own"]):
        state.own = [(generator, saved) for (generator, _), saved in zip(state.own, tree["own"], strict=True)]
    elif own:
        raise MismatchError(
            f"The checkpoint has the states of {len(tree['own'])} random generators that belong to data loaders, and "
            f"the learner's data have {len(state.own)}. Resume with loaders built as those of the saved run."
        )
    state.python, state.torch = tree["python"], tree["torch"]
    if state.numpy is not None and tree["numpy"] is not None:
        state.numpy = tree["numpy"]
    state.devices = {kind: saved for kind, saved in tree["devices"].items() if is_here(kind, saved)}
    return state


def is_here(kind: str, saved: Any) -> bool:
    """Whether the generators of accelerators that were saved are here as well; if not, they are left as they are."""
    if kind == "cuda":
        here = torch.cuda.device_count() == len(saved)
    else:
        here = torch.backends.mps.is_available()
    if not here:
        logger.warning(
            f"The checkpoint has random states of other {kind} devices than there are here; they are left out."
        )
    return here
