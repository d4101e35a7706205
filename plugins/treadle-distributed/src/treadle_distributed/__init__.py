"""Training with many processes, by PyTorch's own engines, for Treadle."""

from treadle_distributed.ddp import DDP

__all__ = ["DDP"]
