"""Whether a loader with a state of its own goes on where it was: its state says where in a pass it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset
from treadle.authoring import flatten, has_state, length_of
from treadle.errors import MismatchError, NotResumableError, NotSaveableError

from treadle_checkpoint.batch_digest import batch_digest


class LoaderPlace:
    """Looks at the state of a loader after batches that follow each other: one that does not change says no place.

    Args:
        name: What the loader is called in the learner's data.
        loader: The loader; anything else, as None, is not looked at.
        state: The state that it had before the next batch, if it is known.

    Attributes:
        first: The digest of the state after the batch that was looked at first, or None.
        problem: What is wrong, and what to do; empty if nothing is, as far as is known.
    """

    def __init__(self, name: str, loader: Any, state: Any = None) -> None:
        self.name, self.loader, self.problem = name, loader, ""
        self.first: str | None = None
        self._last = None if state is None else state_digest(state)
        self._left = 2 if has_state(loader) else 0  # how often to look: what has moved twice moves on

    def look(self) -> None:
        """Look at the state once more, if that is needed."""
        if not self._left:
            return
        self._left -= 1
        try:
            before, self._last = self._last, state_digest(self.loader.state_dict())
        except NotSaveableError:  # which a save says, if there is one in the middle of a pass
            self._left = 0
            return
        self.first = self.first or self._last
        if before == self._last:
            self.problem = (
                f"data.{self.name} is a {type(self.loader).__name__}, whose state is the same after a batch as before "
                f"it, so it cannot go on in the middle of a pass.\n"
                f"Fix: let its state_dict hold how many batches were given, and its __iter__ go on from there; or "
                f"leave out state_dict and load_state_dict: then the batches that were done are skipped"
            )

    def refuse(self) -> None:
        """Refuse to save inside of a pass over a loader that cannot go on there.

        Raises:
            NotResumableError: if that is known.
        """
        if self.problem:
            raise NotResumableError(f"A run could not be resumed here: {self.problem}")


def rest_of_pass(
    name: str, loader: Any, done: int, state: Any, *, first: str | None, length: int | None
) -> Iterator[Any]:
    """The batches that a loader that was given its state has left, checked on the way.

    Args:
        name: What the loader is called in the learner's data.
        done: How many of the pass were done.
        state: The state that was saved.
        first: The digest of the state after the first batch of the pass, if it is known.
        length: How many batches it said to have before it was given its state, or None.

    Raises:
        MismatchError: before a batch that is not of this pass, or when there are fewer than were left.
    """
    place, left = LoaderPlace(name, loader, state), batches_left(loader, done, length)
    iterator = iter(loader)  # at once, since that may draw random numbers, which the saved run has done already

    def checked() -> Iterator[Any]:
        count = 0
        for count, batch in enumerate(iterator, 1):
            place.look()
            if place.problem:
                raise MismatchError(f"The epoch that is resumed would be too long: {place.problem}")
            anew = count == 1 and first is not None and place.first == first
            if anew or (left is not None and count > left):
                raise other_rest(
                    name,
                    loader,
                    done,
                    "began its pass anew" if anew else f"gave more than the {max(left or 0, 0)} that were left",
                )
            yield batch
        if left is not None and count < left:
            raise other_rest(name, loader, done, f"gave {count} instead of the {left} that were left")

    return checked()


def other_rest(name: str, loader: Any, done: int, what: str) -> MismatchError:
    """The error for a loader that does not go on where it was."""
    return MismatchError(
        f"data.{name}, a {type(loader).__name__}, was given its state after {done} batches, and {what}.\n"
        f"Fix: let its __iter__ go on after the batches that its state says were given; or leave out state_dict "
        f"and load_state_dict: then these are skipped"
    )


def batches_left(loader: Any, done: int, length: int | None) -> int | None:
    """How many batches are left of a pass, or None if the loader does not know it for sure."""
    now = length_of(loader)
    if now is None or (isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset)):
        return None
    return now if length is not None and now == length - done else now - done  # some count what is left


def state_digest(state: Any) -> str:
    """A digest of a state, with its tensors."""
    tensors: dict[str, Any] = {}
    flat = json.dumps(flatten(state, "state", tensors), sort_keys=True)
    return hashlib.sha256(f"{flat}{batch_digest(tensors)}".encode()).hexdigest()
