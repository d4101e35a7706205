"""`DDP`: one model, trained by many processes that share the batches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from treadle import Callback, ConflictResolution, Unresolvable, Write
from treadle.authoring import by_name, handlers, unwrap
from treadle.errors import ArgumentValueError
from treadle.operations import Forward

from treadle_distributed.first_unless_decided import first_unless_decided
from treadle_distributed.group import ProcessGroupError, join_group


class DDP(Callback):
    """Train one model with many processes, by `torch.nn.parallel.DistributedDataParallel`.

    `torchrun` in front of the script is all else that it takes. In a single process it does nothing.

    Args:
        timeout: How long a process waits for the others, in seconds or as a `timedelta`. It counts where the group is
            made here; one that the script has made has its own. Default: torch's own, 30 minutes for CPUs and 10 for
            NCCL.

    Writes: `model`: its parameters and buffers are made equal to those of the main process.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used; if the learner has several models, or one
            without parameters.
        ProcessGroupError: if the processes cannot work together.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html

    Example:
        >>> from treadle import toy_learner
        >>> toy_learner(DDP()).fit(1)
        FitResult(epochs=1, steps=16, cancelled=None)
    """

    state_access = {"model": Write}
    run_after = ("to_device", "to_gpu", "compile")  # which move the model, or change how it runs
    optional_state = True

    def __init__(self, *, timeout: float | timedelta | None = None) -> None:
        self.timeout = timeout
        self.group = join_group(timeout)

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(unwrap(other), DDP):
            return Unresolvable("A run has one engine for its processes. Keep one of them.")
        forward = handlers(other).get(Forward.hook)
        if forward is not None and not forward.wrapper:
            return Unresolvable(
                f"{other.name} overrides `forward`, which {self.name} does with many processes. "
                f"Use Compile() in place of CompiledStep()."
            )
        return first_unless_decided(self, other)

    def on_init(self, learner: Any) -> None:
        models = by_name(learner.model)
        if len(models) != 1:
            raise ArgumentValueError(
                f"{self.name} trains one model with many processes, and the learner has {len(models)}: "
                f"{', '.join(models)}.\nFix: put them into one module:\n"
                f"    Learner(torch.nn.ModuleDict(models), ...)"
            )
        (model,) = models.values()
        if not any(True for _ in model.parameters()):
            raise ArgumentValueError(
                f"{self.name} shares the gradients of a model's parameters, and {type(model).__name__} has none.\n"
                f"Fix: leave {self.name} out of the learner's callbacks."
            )
        if self.group.size > 1:
            raise ProcessGroupError(
                f"{self.name} does not train with {self.group.size} processes yet.\n"
                f"Fix: start the script without torchrun."
            )
