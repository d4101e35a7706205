"""What ended a fit for good, as a checkpoint holds it."""

from __future__ import annotations

from typing import Any

from treadle import Callback, CancelFittingException
from treadle.authoring import flatten
from treadle.errors import MismatchError, NotSaveableError
from treadle.events import subclasses


def cancel_state(cancel: CancelFittingException) -> dict[str, Any]:
    """A cancel as a checkpoint holds it: the name of its class, and its state.

    Raises:
        NotSaveableError: naming what of its state no checkpoint can hold.
    """
    cls = type(cancel)
    state = cancel.state_dict()
    try:
        flatten(state, cls.__qualname__, {})
    except NotSaveableError as error:
        what, _, fix = str(error).partition("\nFix: ")
        raise NotSaveableError(
            f"The fit was ended for good by a {cls.__qualname__}, of which a checkpoint cannot hold all. {what}\n"
            f"Fix: override state_dict and load_state_dict of {cls.__qualname__}; or {fix}"
        ) from error
    return {"class": key_of(cls), "state": state}


def cancel_from(saved: dict[str, Any], callback: Callback | None) -> CancelFittingException:
    """The cancel of which `cancel_state` was taken. No class is imported for it.

    Args:
        callback: The callback that raised it in the saved run, as it is in this one.

    Raises:
        MismatchError: if there is no such class.
    """
    key: Any = saved.get("class")
    known: dict[str, type[CancelFittingException]] = {key_of(CancelFittingException): CancelFittingException}
    known |= {key_of(cls): cls for cls in subclasses(CancelFittingException)}
    if key not in known:
        raise MismatchError(
            f"The saved fit was ended for good by a {key}, and there is no such class.\n"
            f"Fix: import it, or define it as in the saved run, before resume; or go on without the state of the "
            f"callback that raised it:\n    resume(learner, path, without=[...])"
        )
    cancel: CancelFittingException = BaseException.__new__(known[key])
    cancel.callback = callback
    cancel.load_state_dict(saved["state"])
    return cancel


def key_of(cls: type) -> str:
    """The name of a class, the same in every process."""
    return f"{cls.__module__}:{cls.__qualname__}"
