"""How a callback is tested. What these tools need is loaded when one of them is asked for."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.testing.checks.declared.audit import AuditError, audit
    from treadle.testing.contract import CallbackContract, check_callback
    from treadle.testing.inference import InferredAccess, infer_access
    from treadle.testing.report import CallbackCheckError, Checked, CheckResult, DoesNotApply, Finding, Report, outcome
    from treadle.testing.toy import noisy_learner, toy_learner

__all__ = [
    "AuditError",
    "CallbackCheckError",
    "CallbackContract",
    "CheckResult",
    "Checked",
    "DoesNotApply",
    "Finding",
    "InferredAccess",
    "Report",
    "audit",
    "check_callback",
    "infer_access",
    "noisy_learner",
    "outcome",
    "toy_learner",
]

#: The module of each name. None has the name of what it holds: once imported, it would be found instead.
MODULES = {
    "AuditError": "checks.declared.audit",
    "CallbackCheckError": "report",
    "CallbackContract": "contract",
    "CheckResult": "report",
    "Checked": "report",
    "DoesNotApply": "report",
    "Finding": "report",
    "InferredAccess": "inference",
    "Report": "report",
    "audit": "checks.declared.audit",
    "check_callback": "contract",
    "infer_access": "inference",
    "noisy_learner": "toy",
    "outcome": "report",
    "toy_learner": "toy",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    globals()[name] = value
    return value
