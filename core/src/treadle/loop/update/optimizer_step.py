"""`let_step`: an optimizer's step, without what torch puts around it for profilers and hooks where there are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch.autograd import _profiler_enabled as profiler_enabled  # type: ignore[attr-defined]
from torch.optim import optimizer as torch_optimizer

#: What torch's wrapper around `step` uses. One that uses more does something that is not known here.
KNOWN = {
    "cast", "Optimizer", "__class__", "__name__", "torch", "autograd", "profiler", "record_function", "chain",
    "_global_optimizer_pre_hooks", "values", "_optimizer_step_pre_hooks", "isinstance", "tuple", "len",
    "RuntimeError", "_optimizer_step_code", "_optimizer_step_post_hooks", "_global_optimizer_post_hooks", "format",
}  # fmt: skip


def let_step(optimizer: Any) -> None:
    """Let an optimizer change its parameters, as `optimizer.step()` does, for two thirds of its cost.

    torch wraps the `step` of each class: it names it to the profiler, and calls hooks. Where nobody profiles, and there
    are no hooks, what is inside is called.
    """
    inner = inside(type(optimizer).step)
    if (
        inner is None
        or "step" in optimizer.__dict__
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
        or profiler_enabled()
    ):
        optimizer.step()
    else:
        inner(optimizer)


@lru_cache(maxsize=256)
def inside(step: Any) -> Callable[..., object] | None:
    """What torch's wrapper around a `step` calls; None if it is not wrapped, or not as it is known."""
    code = getattr(step, "__code__", None)
    if not getattr(step, "hooked", False) or code is None or not KNOWN.issuperset(code.co_names):
        return None
    inner: Callable[..., object] | None = getattr(step, "__wrapped__", None)
    return inner
