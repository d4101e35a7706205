"""`GarbageCollect`: give memory back every `nsteps` steps."""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
from collections.abc import Callable

import torch
from treadle import Callback
from treadle.authoring import instance_of, whole_number


class GarbageCollect(Callback):
    """Collect garbage every `nsteps` steps, of all phases together, and on Linux give freed memory back.

    For memory that grows because of reference cycles or of loaders in threads, whose freed memory
    the C library keeps to itself.

    Args:
        nsteps: The number of steps from one collection to the next, at least 1.
        empty_cache: Whether torch's cache of CUDA memory is emptied as well, which waits for the device.

    Raises:
        ArgumentTypeError: if `nsteps` is not a whole number, or `empty_cache` neither True nor False.
        ArgumentValueError: if it is below 1.

    Example:
        >>> from treadle import toy_learner
        >>> collector = GarbageCollect(nsteps=10)
        >>> _ = toy_learner(collector, nbatches=16).fit(1)  # 16 + 16 steps
        >>> collector.runs
        3
    """

    optional_state = True  # how many steps there were changes nothing of the run

    def __init__(self, nsteps: int = 100, *, empty_cache: bool = False) -> None:
        self.nsteps = whole_number(nsteps, "nsteps", "GarbageCollect(nsteps=100)", least=1)
        self.empty_cache = instance_of(empty_cache, "empty_cache", bool, "GarbageCollect(empty_cache=True)")
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

    def state_dict(self) -> dict[str, int]:
        return {"steps": self.steps, "runs": self.runs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.steps, self.runs = state["steps"], state["runs"]


@functools.cache
def malloc_trim(platform: str = sys.platform) -> Callable[[int], int] | None:
    """The C library's function that gives freed memory back to the system; None where it has none."""
    if not platform.startswith("linux"):
        return None
    function: Callable[[int], int] | None = getattr(
        ctypes.CDLL(None), "malloc_trim", None
    )  # glibc has it, musl does not
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int  # type: ignore[attr-defined]
    return function
