"""`ToGPU`: train on the accelerator, where there is one."""

from __future__ import annotations

from typing import Self

import torch
from loguru import logger

from treadle_device.to_device import ToDevice


class ToGPU(ToDevice):
    """Move the model and the batches to CUDA or MPS, whichever is available; otherwise warn that neither is.

    Writes: `model`, `params`, `lossfn`, `optimizer`, `step.xs`, `step.ys`.

    Example:
        >>> from treadle import toy_learner
        >>> to_gpu = ToGPU()
        >>> learner = toy_learner(to_gpu, nbatches=2)
        >>> _ = learner.fit(1)
        >>> learner.model.weight.device.type == to_gpu.device.type
        True
        >>> learner.step.xs.device == learner.model.weight.device
        True
    """

    @classmethod
    def example(cls) -> Self:
        return cls()

    def __init__(self) -> None:
        self.device = best_device(cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())
        if self.device.type == "cpu":
            logger.warning("ToGPU finds neither CUDA nor MPS on this machine, so training runs on the CPU.")
        super().__init__(self.device)


def best_device(*, cuda: bool, mps: bool) -> torch.device:
    """The device to train on: CUDA if it is available, else MPS, the GPU of a Mac, else the CPU."""
    return torch.device("cuda" if cuda else "mps" if mps else "cpu")
