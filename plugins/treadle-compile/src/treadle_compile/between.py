"""Who stands between the forward pass and the update, and what a compiled step makes of that."""

from __future__ import annotations

from treadle import (
    BackwardBegin,
    BackwardEnd,
    Callback,
    LossBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    Write,
    accesses,
)
from treadle.authoring import handlers, handles, overlaps, unwrap
from treadle.operations import Accumulate, Backward, FinalizeGradients, Forward, Loss, Operation, Update

#: What a compiled step does by itself, or does not do.
OWN: tuple[type[Operation], ...] = (Accumulate, Backward, FinalizeGradients, Update)

#: What of the step has been used when the forward pass ends.
USED = ("step.xs", "step.ys", "step.yhats", "step.loss")


#: What nobody may write who takes part in one of these.
COMPUTED = ("step", "model", "params", "optimizer", "loop")


def refusal(callback: Callback) -> str:
    """Why a callback cannot be used with a compiled step; empty if it can."""
    inner = unwrap(callback)
    found, written = handlers(inner), accesses(inner, Write)
    operations: tuple[type[Operation], ...] = (*OWN, Forward, Loss)
    for operation in operations:
        handler = found.get(operation.hook)
        if handler is None or not handles(inner, operation, TrainingPhase):
            continue
        if not handler.wrapper:
            return f"{callback.name} overrides `{operation.hook}`, which a compiled step does by itself. {COMPILE}"
        if operation in OWN and any(overlaps(path, part) for path in written for part in COMPUTED):
            return (
                f"{callback.name} changes what `{operation.hook}` does, and in a compiled step that is no operation of "
                f"its own. {COMPILE}"
            )
    for event in (LossBegin, BackwardBegin):
        changed = [path for path in written if any(overlaps(path, used) for used in USED)]
        if changed and handles(inner, event, TrainingPhase):
            return (
                f"{callback.name} may change `{min(changed)}` at {event.__name__}, when a compiled step has computed "
                f"the loss and the gradients already. {COMPILE}"
            )
    return ""


#: What to do about a callback that cannot be used with a compiled step.
COMPILE = "Use Compile() in place of CompiledStep(): it compiles the model alone, and goes with every callback."


def changes_update(callback: Callback) -> bool:
    """Whether a callback may change what the update is made of, when the gradients are there.

    Those that set hyperparameters do it at the begin of a step, where one step makes one update; if not, the update
    finds out.
    """
    inner = unwrap(callback)
    if not any(handles(inner, event, TrainingPhase) for event in (BackwardEnd, UpdateBegin)):
        return False
    paths = (
        ["model", "params", "step.grads"] if inner.hyperparameters else ["model", "params", "step.grads", "optimizer"]
    )
    return any(overlaps(written, path) for written in accesses(inner, Write) for path in paths)


def sees_gradients(callback: Callback) -> bool:
    """Whether a callback may look at the gradients of a step."""
    inner = unwrap(callback)
    if any(path == "step.grads" or path.startswith("step.grads.") for path in inner.state_access):
        return True
    paths = [path for path in inner.state_access if path in ("step", "params", "model") or path.startswith(PARTS)]
    return bool(paths) and any(
        handles(inner, event, TrainingPhase) for event in (BackwardEnd, UpdateBegin, UpdateEnd, StepEnd)
    )


#: Below these, paths lead to parameters, which carry their gradients.
PARTS = ("params.", "model.")
