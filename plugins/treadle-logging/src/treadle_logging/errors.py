"""What only logging can refuse; wrong arguments are the core's `ArgumentTypeError` and `ArgumentValueError`."""

from treadle.errors import TreadleError


class UnsupportedLoggable(TreadleError, TypeError):
    """A backend cannot take this loggable; raised by `LoggerBackend.log`, and said once as a warning."""


class BackendClosedError(TreadleError, ValueError):
    """A backend was used after its `close()`."""


class LogExistsError(TreadleError, FileExistsError):
    """A log would be mixed with that of an earlier run."""
