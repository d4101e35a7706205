"""The handlers of a fastai callback: which there are, with what they are called, and what they may return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from treadle.authoring import did_you_mean
from treadle.errors import CallbackError

#: The handlers, in the order of the loop; each with what a plain value that it returns is the new value of.
HANDLERS: dict[str, tuple[str, ...]] = {
    "on_train_begin": (),
    "on_epoch_begin": (),
    "on_batch_begin": ("last_input", "last_target"),
    "on_loss_begin": ("last_output",),
    "on_backward_begin": ("last_loss",),
    "on_backward_end": ("skip_step",),
    "on_step_end": ("skip_zero",),
    "on_batch_end": ("stop_epoch",),
    "on_epoch_end": ("stop_training",),
    "on_train_end": (),
}

#: Those that are called in a batch.
IN_BATCH = tuple(HANDLERS)[2:8]

#: Those that not every phase of training calls.
NOT_ALWAYS = ("on_loss_begin", "on_backward_begin", "on_backward_end", "on_step_end")

#: What decides about the rest of a batch; False when it begins.
OF_A_BATCH = ("skip_bwd", "skip_step", "skip_zero", "stop_epoch")

#: What asks for something, and so is only ever set to True by a plain value.
FLAGS = (*OF_A_BATCH, "stop_training", "skip_validate")

#: Treadle's events, where they are called otherwise.
TREADLES = {
    "on_fit_begin": "on_train_begin",
    "on_step_begin": "on_batch_begin",
    "on_update_begin": "on_backward_end",
    "on_update_end": "on_step_end",
    "on_fit_end": "on_train_end",
}


def new_state() -> dict[str, Any]:
    """What every handler can ask for, by the keyword, before a training begins."""
    return {
        "n_epochs": None,
        "epoch": 0,
        "iteration": 0,
        "num_batch": 0,
        "last_input": None,
        "last_target": None,
        "last_output": None,
        "last_loss": None,
        "smooth_loss": None,
        "last_metrics": None,
        "pbar": None,
        "metrics": None,
        "train": None,
        **dict.fromkeys(FLAGS, False),
    }


#: Every keyword: those of the state, and those of a single handler.
KEYWORDS = (*new_state(), "exception", "metrics_names")


def name_of(callback: Any) -> str:
    """What to call a callback in a message."""
    return str(getattr(callback, "name", None) or type(callback).__name__)


def defined(callback: Any, base: type) -> list[str]:
    """The handlers that a callback defines itself, in the order of the loop.

    Args:
        base: The class whose handlers do nothing.

    Raises:
        CallbackError: for a method called `on_...` that is not one of them, or that asks for what is not passed.
    """
    for name in dir(callback):
        if name.startswith("on_") and name not in HANDLERS and callable(getattr(callback, name, None)):
            meant = TREADLES.get(name)
            guess = f"Did you mean `{meant}`?" if meant else did_you_mean(name, HANDLERS)
            raise CallbackError(
                f"{name_of(callback)} has a method `{name}`, and a fastai callback has no such handler. {guess}\n"
                f"Fix: rename it; there are {', '.join(HANDLERS)}."
            )
    found = [
        name
        for name in HANDLERS
        if name in vars(callback) or getattr(type(callback), name, None) is not getattr(base, name)
    ]
    found = [name for name in found if getattr(callback, name, None) is not None]
    for name in found:
        check_arguments(callback, name)
    return found


def check_arguments(callback: Any, name: str) -> None:
    """Refuse a handler that asks for what is not passed."""
    for parameter in inspect.signature(getattr(callback, name)).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) or parameter.name in KEYWORDS:
            continue
        if parameter.default is parameter.empty:
            raise CallbackError(
                f"{name_of(callback)}.{name} asks for `{parameter.name}`, and nothing is passed by that name. "
                f"{did_you_mean(parameter.name, KEYWORDS)}\n"
                f"Fix: ask for what is passed, and take the rest as keywords:\n"
                f"    def {name}(self, last_input, last_target, **kwargs): ..."
            )


def accepted(handler: Callable[..., Any]) -> frozenset[str] | None:
    """The keywords that a handler takes; None for all of them."""
    parameters = inspect.signature(handler).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return None
    return frozenset(parameters)


def returned_values(callback: Any, name: str, returned: Any) -> dict[str, Any]:
    """What a handler returned, as new values by their keywords.

    A dictionary is that already; a plain value, the older way, is the new value of what the handler is about. None
    changes nothing, and so does a plain value that asks for nothing.

    Raises:
        CallbackError: for a keyword that there is not, or a value that has no meaning there.
    """
    if returned is None:
        return {}
    keys = HANDLERS[name]
    if isinstance(returned, Mapping):
        known = new_state()
        for key in returned:
            if key not in known:
                raise CallbackError(
                    f"{name_of(callback)}.{name} returned a value for {key!r}, which is not in the state. "
                    f"{did_you_mean(str(key), known)}\n"
                    f"Fix: return values for known keywords{f', such as {keys[0]!r}' if keys else ''}:\n"
                    f"    return {{{keys[0] if keys else 'skip_validate'!r}: ...}}"
                )
        return dict(returned)
    if not keys:
        raise CallbackError(
            f"{name_of(callback)}.{name} returned {type(returned).__name__}, and nothing that it returns but a "
            f"dictionary has a meaning there.\nFix: return nothing:\n    return None"
        )
    if len(keys) == 2:
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise CallbackError(
                f"{name_of(callback)}.{name} returned {type(returned).__name__}, which is not a pair of input and "
                f"target.\nFix: return both, or a dictionary:\n    return last_input, last_target"
            )
        return dict(zip(keys, returned, strict=True))
    if keys[0] in FLAGS:
        return {keys[0]: True} if returned else {}
    return {keys[0]: returned}
