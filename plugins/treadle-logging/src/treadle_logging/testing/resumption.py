"""Is a log cut where a run is resumed?"""

import copy
from typing import Any

from treadle.testing import Checked, DoesNotApply, Finding

from treadle_logging.backend import LogChangedError, LoggerBackend
from treadle_logging.testing.endings import log
from treadle_logging.testing.numbers import expect
from treadle_logging.testing.place import Places

FIX_CHANGED = (
    "Fix: see in `rewind` that the log begins with what it held then, and leave another one as it is:\n"
    '    raise LogChangedError("which log, and which one it has to be")'
)
FIX_REWIND = "Fix: cut off in `rewind` all that was logged after the position, and nothing else."


def resume(places: Places) -> Checked:
    """What was logged past a position is cut off, and another log is left as it is."""
    with places.place() as place:
        first_backend = place.make()
        overridden = [name for name in ("position", "rewind") if is_overridden(first_backend, name)]
        if not overridden:
            raise DoesNotApply("It has no `position`: a resumed run goes on behind what is there.")
        if len(overridden) == 1:
            other = "rewind" if overridden == ["position"] else "position"
            raise Finding(
                f"It has `{overridden[0]}` and no `{other}`, and a resumed run needs both.\n"
                f"Fix: implement both, or none of them."
            )
        log(first_backend, 1, 2)
        position = first_backend.position()
        check_plain(position)
        expect(place, (1, 2), "after `position`", "Fix: bring what was logged to the disk in `position`.")
        log(first_backend, 3, 4)
        first_backend.close()
        resumed = place.make()
        rewind(resumed, position)
        log(resumed, 3)
        resumed.flush()
        expect(place, (1, 2, 3), "when a new backend has gone on from `position`", FIX_REWIND)
        rewind(resumed, position)
        log(resumed, 7)
        resumed.flush()
        expect(place, (1, 2, 7), "when the same backend has gone on from `position` again", FIX_REWIND)
        with places.place() as elsewhere:
            another = elsewhere.make()
            log(another, 9)
            try:
                another.rewind(copy.deepcopy(position))
            except LogChangedError:
                pass
            except Exception as error:
                raise Finding(
                    f"`rewind` of another log fails with {type(error).__name__}: {error}\n{FIX_CHANGED}"
                ) from error
            else:
                raise Finding(f"`rewind` cuts a log that never held what the position says.\n{FIX_CHANGED}")
            another.flush()
            expect(elsewhere, (9,), "when `rewind` has refused another log", FIX_CHANGED)
        return Checked(3, "logs")


def is_overridden(backend: LoggerBackend, name: str) -> bool:
    """Whether a backend's class has a method of its own."""
    return getattr(type(backend), name) is not getattr(LoggerBackend, name)


def rewind(backend: LoggerBackend, position: Any) -> None:
    """Rewind a backend to a position of its log."""
    try:
        backend.rewind(copy.deepcopy(position))
    except Exception as error:
        raise Finding(
            f"`rewind` of a log to a position that it had fails: {type(error).__name__}: {error}\n{FIX_REWIND}"
        ) from error


def check_plain(position: Any) -> None:
    """Raise a finding where a position cannot be kept in a checkpoint."""
    if position is None:
        raise Finding("`position` returned None.\nFix: return where the log ends, or leave `position` out.")
    if unusual := not_plain(position):
        raise Finding(
            f"`position` returned {unusual!r:.60}, which a checkpoint cannot hold.\n"
            f"Fix: return numbers, texts, lists and dictionaries of them:\n"
            f'    return {{"bytes": self.path.stat().st_size}}'
        )


def not_plain(value: Any) -> Any:
    """A part of a value that is not plain, or None."""
    if isinstance(value, dict):
        return not_plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return next((found for part in value if (found := not_plain(part)) is not None), None)
    return None if value is None or type(value) in (bool, int, float, str) else value
