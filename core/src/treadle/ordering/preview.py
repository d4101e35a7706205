"""The plan of callbacks before there is a learner: nothing is initialized, moved or written."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.callback import Callback
from treadle.ordering.graph import Ordering
from treadle.ordering.plan import Plan
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.selection import as_callbacks, report_slips


def preview(callbacks: Iterable[Callback | str], use_default_callbacks: bool | Iterable[str] = False) -> Plan:
    """The plan of callbacks, as `learner.plan()` gives it, without a learner: no `on_init` runs.

    Args:
        callbacks: In any order; also names, as a learner takes them.
        use_default_callbacks: As of `Learner`. Default: none of them.

    Raises:
        CallbackConflictError: listing every reason why there is no order.
        PluginError: if a name is not that of a plugin that can be used.

    Example:
        >>> from treadle import CustomCallback, StepEnd
        >>> print(preview([CustomCallback(print, StepEnd)]))
        TrainingPhase
          on_step_end  CustomCallback
        ...
    """
    listed, modules = as_callbacks(callbacks, use_default_callbacks=use_default_callbacks)
    report_slips(listed)
    return Plan(Ordering(listed, resolver(modules_for(listed, modules))))
