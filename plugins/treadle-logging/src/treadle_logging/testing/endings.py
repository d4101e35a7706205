"""Can a backend be flushed and closed at any time?"""

from treadle.testing import Checked, Finding

from treadle_logging.backend import BackendClosedError, LoggerBackend, log_to
from treadle_logging.loggable import Loggable
from treadle_logging.testing.kinds import supported_samples
from treadle_logging.testing.numbers import expect
from treadle_logging.testing.place import Places

FIX_CLOSED = 'Fix: refuse it by name:\n    raise BackendClosedError("what was closed, and how to go on")'


def flush(places: Places) -> Checked:
    """It can be flushed at any time, and then what was logged can be read."""
    with places.place() as place:
        backend = place.make()
        tried(backend.flush, "`flush` before anything was logged")
        log(backend, 1)
        tried(backend.flush, "`flush`")
        tried(backend.flush, "`flush` when there is nothing new")
        expect(place, (1,), "after `flush`, while the backend is open", "Fix: write in `flush` all that was logged.")
        return Checked(3, "flushes")


def close(places: Places) -> Checked:
    """Closing flushes, twice is as once, and nothing is lost silently afterwards."""
    with places.place() as place:
        unused = place.make()
        tried(unused.close, "`close` before anything was logged")
    with places.place() as place:
        with place.make() as backend:
            log(backend, 1)
        expect(place, (1,), "after `close`", "Fix: flush before you close:\n    self.flush()")
        tried(backend.close, "`close` when it is closed")
        try:
            log(backend, 2)
        except BackendClosedError:
            pass
        except Exception as error:
            raise Finding(f"Logging after `close` fails with {type(error).__name__}: {error}\n{FIX_CLOSED}") from error
        else:
            if type(backend).close is not LoggerBackend.close and places.read is None:
                raise Finding(f"Logging after `close` raises nothing, and may be lost.\n{FIX_CLOSED}")
            backend.flush()
            expect(place, (1, 2), "when it was logged after `close`, which raised nothing", FIX_CLOSED)
        return Checked(2, "closings")


def tried(call: object, what: str) -> None:
    """Call something that has to work."""
    assert callable(call)
    try:
        call()
    except Exception as error:
        raise Finding(
            f"{what} fails: {type(error).__name__}: {error}\n"
            f"Fix: let `flush` and `close` do nothing where there is nothing to do."
        ) from error


def log(backend: LoggerBackend, *iterations: int) -> None:
    """Log the first loggable that a backend takes."""
    for i in iterations:
        log_to(backend, first(backend), "Loss", i, ("Step",))


def first(backend: LoggerBackend) -> Loggable:
    """A loggable that a backend takes, a number if it can.

    Raises:
        Finding: if there is none.
    """
    for _, loggable in supported_samples(backend):
        return loggable
    raise Finding("It takes no loggable of any known kind.\nFix: name what `log` takes:\n    supported = (Value,)")
