"""`EpochLoss`: the mean loss of the steps of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from treadle.authoring import Mean, batch_weight
from treadle.errors import DataError


class EpochLoss:
    """The mean loss of the steps of an epoch, so far, each weighed by the rows of its batch.

    Recording one never waits for a device. A step whose loss is not one number has none.

    Example:
        >>> loss = EpochLoss()
        >>> loss.record({"loss": torch.tensor(1.0)})
        >>> loss.record({"loss": torch.tensor(4.0)})
        >>> loss.value
        2.5
    """

    def __init__(self) -> None:
        self._mean = Mean()
        self._weigh = batch_weight("rows", "weight", "")
        self._refused = ""  # why these losses have no mean

    def record(self, step: Any) -> None:
        """Record the loss of a step that has ended, if it has one."""
        loss = step.get("loss")
        if isinstance(loss, torch.Tensor):
            if loss.numel() != 1 or loss.is_complex():
                return
            loss = loss.item() if loss.is_cpu else loss.detach()
        elif not isinstance(loss, int | float):
            return
        if self._refused or self._weigh is None:
            return
        try:
            self._mean.update(loss, self._weigh(step))
        except DataError as error:  # which is one only if nobody records the loss that is looked at
            self._refused = str(error)

    @property
    def value(self) -> float | None:
        """The mean, or None if there is none.

        Raises:
            DataError: if some batches have rows and others have none.
        """
        if self._refused:
            raise DataError(self._refused)
        mean = self._mean.compute()
        return None if mean is None else float(mean)

    def part(self) -> dict[str, Any]:
        """What other processes need of it."""
        return self._mean.part()

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Become the mean loss of the rows of all processes."""
        self._mean.merge(parts)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {"mean": self._mean.state_dict(), "refused": self._refused}

    @classmethod
    def loaded(cls, state: dict[str, Any]) -> EpochLoss:
        """What `state_dict` was called of."""
        loss = cls()
        loss._mean.load_state_dict(state["mean"])
        loss._refused = state["refused"]
        return loss
