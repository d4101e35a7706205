"""A Weights & Biases backend for Treadle's logging callbacks."""

from treadle_wandb.wandb_backend import WandbBackend

__all__ = ["WandbBackend"]
