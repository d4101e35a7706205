"""What happens in a fit, in which order."""

from treadle.loop.loop import epoch, run_epoch, run_step, step

__all__ = ["epoch", "run_epoch", "run_step", "step"]
