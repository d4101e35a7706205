"""`Monitor`: the value of an epoch that `EarlyStopping` looks at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from treadle import Phase
from treadle.authoring import did_you_mean, one_of
from treadle.errors import ArgumentTypeError, ArgumentValueError, LossError

from treadle_stopping.losses import StepLosses


class Monitor:
    """The mean loss of an epoch, or an epoch metric; the criteria get it so that lower is better.

    Args:
        metric: The name of the metric, or None for the loss.
        mode: "min" if lower values of it are better, "max" if higher ones are.

    Raises:
        ArgumentTypeError, ArgumentValueError: for what is not the name of a metric, and a loss of which more is better.

    Example:
        >>> losses = StepLosses()
        >>> losses.record({"loss": 3.0})
        >>> Monitor(None, "min").value(None, None, losses), Monitor("Accuracy", "max").shown(-0.5)
        (3.0, 0.5)
    """

    def __init__(self, metric: str | None, mode: str) -> None:
        self.metric, self.mode = metric, one_of(mode, "EarlyStopping(mode)", ["min", "max"])
        if metric is None:
            if mode == "max":
                raise ArgumentValueError(
                    'EarlyStopping(mode="max") without `monitor` looks at the loss, of which less is better.\n'
                    "Fix: name the metric of which more is better:\n"
                    '    EarlyStopping(3, monitor="Accuracy", mode="max")'
                )
        elif not (isinstance(metric, str) and metric):
            error = ArgumentValueError if metric == "" else ArgumentTypeError
            raise error(
                f"EarlyStopping(monitor) must be the name of a metric, got {metric!r}.\n"
                f'Fix: write, for example:\n    EarlyStopping(3, monitor="Accuracy")'
            )

    def value(self, metricsepoch: Any, phase: Any, losses: StepLosses) -> float | None:
        """The value of an epoch that has ended, lower is better; None if no step ran to its end.

        Args:
            metricsepoch: What the callback `Metrics` recorded; not looked at for the loss.
            losses: What is known of the epoch: the losses of its steps, and how many values of the metric came before.

        Raises:
            LossError: if the steps have no loss.
            ArgumentValueError: if there is no such metric.
        """
        if self.metric is None:
            if losses.missing and losses.mean is None:
                raise LossError(
                    f"EarlyStopping found no `step.loss` in {phase}.\nFix: choose other phases, train_phase and "
                    f'test_phase, or an epoch metric:\n    EarlyStopping(..., monitor="Accuracy")'
                )
            return losses.mean
        metrics = series_of(metricsepoch, phase)
        if metrics:
            self.check(metrics, phase)
        if self.recorded(metricsepoch, phase) == losses.recorded:  # all of its steps were cancelled, perhaps
            return None
        value: float = metrics[self.metric].last[1]
        return self.shown(value)

    def recorded(self, metricsepoch: Any, phase: Any) -> int:
        """How many values of the metric are recorded in a phase."""
        return len(series_of(metricsepoch, phase).get(self.metric, ()))

    def check_known(self, metricsepoch: Any) -> None:
        """Refuse a metric that is not recorded in any phase, as soon as it is known which ones are."""
        if getattr(metricsepoch, "complete", False):  # a container of somebody else need not know
            self.check(metricsepoch.names)

    def check(self, names: Iterable[str], phase: Phase | None = None) -> None:
        """Refuse a metric that is not among those that are recorded, in a phase."""
        if self.metric is not None and self.metric not in names:
            where = "" if phase is None else f" in {phase}"
            raise ArgumentValueError(
                f"EarlyStopping(monitor={self.metric!r}): there is no such metric{where}. "
                f"{did_you_mean(self.metric, names)}\nFix: name a metric that is recorded, or add it to `Metrics`."
            )

    def shown(self, value: float) -> float:
        """A recorded value as the criteria get it, and the other way round."""
        return -value if self.mode == "max" else value

    @property
    def explanation(self) -> str:
        """What the loss is that the criteria speak of, in a message."""
        if self.metric is None:
            return ""
        return f" The loss is here {self.metric}{', its sign changed' if self.mode == 'max' else ''}."


def series_of(metricsepoch: Any, phase: Any) -> Mapping[Any, Any]:
    """What is recorded in a phase; nothing, if a container of somebody else does not have the phase yet."""
    try:
        series: Mapping[Any, Any] = metricsepoch[phase]
    except KeyError:
        return {}
    return series
