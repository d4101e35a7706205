"""Tools for the tests of callbacks. What they need is loaded when it is asked for."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.testing.auditing import audit
    from treadle.testing.checking import check_callback
    from treadle.testing.contract import CallbackContract
    from treadle.testing.errors import AuditError, CallbackCheckError
    from treadle.testing.noisy import noisy_learner
    from treadle.testing.report import CheckResult, Report
    from treadle.testing.toy import toy_learner

__all__ = [
    "AuditError",
    "CallbackCheckError",
    "CallbackContract",
    "CheckResult",
    "Report",
    "audit",
    "check_callback",
    "noisy_learner",
    "toy_learner",
]

#: The module of each name. None is called like what it holds: once loaded, it would be found in its place.
HOMES = {
    "AuditError": "errors",
    "CallbackCheckError": "errors",
    "CallbackContract": "contract",
    "CheckResult": "report",
    "Report": "report",
    "audit": "auditing",
    "check_callback": "checking",
    "noisy_learner": "noisy",
    "toy_learner": "toy",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{HOMES[name]}"), name)
    globals()[name] = value
    return value
