"""Who stands between the forward pass and the update, and what a compiled step makes of that."""

from __future__ import annotations

from treadle import (
    BackwardBegin,
    BackwardEnd,
    Callback,
    EpochEnd,
    FitEnd,
    LossBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    Write,
    accesses,
)
from treadle.authoring import handlers, handles, overlaps, unwrap
from treadle.events import Hook
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
    for hook in (LossBegin, BackwardBegin, Forward, Loss):
        changed = [path for path in written if any(overlaps(path, used) for used in USED)]
        if changed and handles(inner, hook, TrainingPhase):
            return (
                f"{callback.name} may change `{min(changed)}` at {hook.__name__}, when a compiled step has computed "
                f"the loss and the gradients already. {COMPILE}"
            )
    return ""


#: What to do about a callback that cannot be used with a compiled step.
COMPILE = "Use Compile() in place of CompiledStep(): it compiles the model alone, and goes with every callback."


#: Where a callback stands between the parameters that a unit starts from and the update.
BETWEEN: tuple[type[Hook], ...] = (Forward, LossBegin, Loss, BackwardBegin, BackwardEnd, UpdateBegin)


def changes_update(callback: Callback) -> bool:
    """Whether a callback may change what the update is made of, after the unit has used it."""
    inner = unwrap(callback)
    parts = ("model", "params", "step.grads", "optimizer", "loop")
    written = [path for path in accesses(inner, Write) if any(overlaps(path, part) for part in parts)]
    return bool(written) and any(handles(inner, hook, TrainingPhase) for hook in BETWEEN)


def changes_model(callback: Callback) -> bool:
    """Whether a callback may change of what layers and parameters the model is made."""
    written = accesses(unwrap(callback), Write)
    return any(overlaps(path, part) for path in written for part in ("model", "params", "lossfn", "loop"))


def sees_gradients(callback: Callback) -> bool:
    """Whether a callback may look at the gradients of a step."""
    inner = unwrap(callback)
    if any(path == "step.grads" or path.startswith("step.grads.") for path in inner.state_access):
        return True
    paths = [path for path in inner.state_access if path in PARENTS or path.startswith(PARTS)]
    return bool(paths) and any(
        handles(inner, event, TrainingPhase)
        for event in (BackwardEnd, UpdateBegin, UpdateEnd, StepEnd, EpochEnd, FitEnd)
    )


#: These have parameters, which carry their gradients.
PARENTS = ("step", "params", "model", "optimizer")

#: Below these, paths lead to parameters, which carry their gradients.
PARTS = ("params.", "model.")
