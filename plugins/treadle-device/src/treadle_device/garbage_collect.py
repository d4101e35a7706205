"""`GarbageCollect`: give memory back every so many steps."""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable

import torch
from treadle import Callback
from treadle.errors import ArgumentTypeError, ArgumentValueError


class GarbageCollect(Callback):
    """Collect garbage every `nsteps` steps of whatever phase, and on Linux give freed memory back.

    For memory that grows because of reference cycles or of loaders in threads, whose freed memory
    the C library keeps to itself.

    Args:
        nsteps: Every how many steps, at least 1. Default: 100.
        empty_cache: Whether torch's cache of CUDA memory is emptied as well, which waits for the
            device. Default: False.

    Raises:
        ArgumentTypeError: if `nsteps` is no int.
        ArgumentValueError: if it is below 1.

    Example:
        >>> from treadle import toy_learner
        >>> collector = GarbageCollect(nsteps=10)
        >>> _ = toy_learner(collector, nbatches=16).fit(1)  # 16 + 16 steps
        >>> collector.runs
        3
    """

    def __init__(self, nsteps: int = 100, *, empty_cache: bool = False) -> None:
        if not isinstance(nsteps, int) or isinstance(nsteps, bool):
            raise ArgumentTypeError(
                f"GarbageCollect needs a whole number of steps, got {nsteps!r}: GarbageCollect(nsteps=100)"
            )
        if nsteps < 1:
            raise ArgumentValueError(
                f"GarbageCollect runs every nsteps steps, got {nsteps}: GarbageCollect(nsteps=1) runs at each."
            )
        self.nsteps = nsteps
        self.empty_cache = empty_cache
        self.steps = 0
        self.runs = 0

    def on_step_end(self) -> None:
        self.steps += 1
        if self.steps % self.nsteps == 0:
            self.runs += 1
            gc.collect()
            if trim := malloc_trim():
                trim(0)
            if self.empty_cache and torch.cuda.is_available():
                torch.cuda.empty_cache()


@functools.cache
def malloc_trim(platform: str = sys.platform) -> Callable[[int], int] | None:
    """The C library's function that gives freed memory back to the system; None where it has none.

    Args:
        platform: The system. Default: this one.
    """
    if not platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
    if function is None:
        return None
    function.argtypes = [ctypes.c_size_t]
    function.restype = ctypes.c_int
    trim: Callable[[int], int] = function
    return trim
