"""How a logger backend is tested."""

from treadle_logging.testing.contract import BackendCheckError, check_backend

__all__ = ["BackendCheckError", "check_backend"]
