"""What a callback may touch, where it does not say so itself: it follows from its handlers, and from their code."""

from __future__ import annotations

from typing import Any

from treadle import Permission, Read, Write

from treadle_fastai.adapter.code import codes_of, names_constant, passes_on, used_keywords
from treadle_fastai.callback import Callback, LearnerCallback
from treadle_fastai.handlers import IN_BATCH, KEYWORDS, defined

#: The keywords that stand for an entry of the step's state, each with the first handler of a batch that gets it.
STEP = {
    "last_input": ("xs", "on_batch_begin"),
    "last_target": ("ys", "on_batch_begin"),
    "last_output": ("yhats", "on_loss_begin"),
    "last_loss": ("loss", "on_backward_begin"),
}

#: What stands for a part of the learner in the code of a callback.
PARTS = {
    "model": "model",
    "opt": "optimizer",
    "optimizer": "optimizer",
    "loss_func": "lossfn",
    "lossfn": "lossfn",
    "data": "data",
}


def default_access(callback: Callback) -> dict[str, type[Permission]]:
    """What a callback may touch: what its handlers are passed and return, and what it reaches by the learner."""
    found = defined(callback, Callback)
    access: dict[str, type[Permission]] = {}
    for name in found:
        used = used_keywords(getattr(callback, name), KEYWORDS)
        for keyword, (entry, first) in STEP.items():
            if keyword in used and name in IN_BATCH[IN_BATCH.index(first) :]:
                access[f"step.{entry}"] = Read
        if "smooth_loss" in used:
            access["step.loss"] = Read
        if "last_metrics" in used:
            access |= {"step.loss": Read, "step.ys": Read}  # whose rows weigh the losses of validation
    if "on_batch_begin" in found:
        access |= {"step.xs": Write, "step.ys": Write}
    if "on_loss_begin" in found:
        access["step.yhats"] = Write
    if "on_backward_begin" in found:
        access |= {"step.loss": Write, "optimizer": Read}
    if not {"on_backward_end", "on_step_end"}.isdisjoint(found):
        access["callbacks"] = Read  # to refuse gradients that are kept beside those that somebody makes whole
    if isinstance(callback, LearnerCallback):
        access |= dict.fromkeys(reached_parts(callback), Write)
    return access


def reached_parts(callback: LearnerCallback) -> list[str]:
    """The parts of the learner that the code of a callback names; all of them, where it passes the learner on."""
    classes = type(callback).__mro__
    above = classes[: classes.index(LearnerCallback)]
    members = [member for holder in (callback, *above) for member in vars(holder).values()]
    codes = [code for member in members for function in functions_of(member) for code in codes_of(function)]
    if any(passes_on(code, "learn") or passes_on(code, "self") or names_constant(code, "learn") for code in codes):
        return list(dict.fromkeys(PARTS.values()))
    names = {name for code in codes for name in code.co_names}
    return list(dict.fromkeys(part for name, part in PARTS.items() if name in names))


def functions_of(member: Any) -> list[Any]:
    """The functions of a member of a class: itself, or those of a property, a class method or a static one."""
    if isinstance(member, property):
        return [function for function in (member.fget, member.fset, member.fdel) if function is not None]
    return [getattr(member, "__func__", member)] if callable(getattr(member, "__func__", member)) else []


def permitted(access: Any, path: str) -> bool:
    """Whether a path, or one above it, is declared."""
    return any(path == declared or path.startswith(f"{declared}.") for declared in access)
