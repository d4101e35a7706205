"""`Ranking`: by which value each checkpoint is ranked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from treadle import AbstractTrainingPhase, AbstractValidationPhase, Phase
from treadle.authoring import did_you_mean, phase_label, position_of
from treadle.errors import CheckpointError, NotSaveableError

from treadle_checkpoint.epoch_loss import EpochLoss
from treadle_checkpoint.model_file import model_digests
from treadle_checkpoint.score import Score


@dataclass(frozen=True)
class Begun:
    """What there was when an epoch of validation began: the digest of the weights, and how many values there were."""

    weights: str
    recorded: int


class Ranking:
    """Ranks a checkpoint by a value of validation that was measured with its own weights, and by no other.

    Weights are told apart by the digest of what a checkpoint holds of them. Only validation inside of a fit counts:
    the test set that somebody looks at ranks nothing. A fit without validation ranks the checkpoint at the end of an
    epoch by its training value.

    Args:
        metric: The name of the metric.
        phase: The type of the phases whose values count; None for validation, and training without it.
        mode: "min" or "max".

    Attributes:
        inner: The label of the phase that validates inside of the epochs of this fit, or None.
        measured: The digest of the weights that were measured last, and the value; or None.
        known: Whether it is known that there is such a metric; a loss need not be recorded.
    """

    def __init__(self, metric: str, phase: type[Phase] | None, mode: str) -> None:
        self.metric, self.phase, self.mode = metric, phase, mode
        self.inner: str | None = None
        self.measured: tuple[str, float] | None = None
        self.known = metric == "Loss"

    def check_known(self, learner: Any) -> None:
        """Refuse a metric that is recorded in no phase, as soon as it is known which ones are.

        Raises:
            CheckpointError: if it is.
        """
        if self.known:
            return
        recorded = learner.cbstate.get("metricsepoch")
        if getattr(recorded, "complete", False):  # a container of somebody else need not know
            if self.metric not in recorded.names:
                raise unknown(self.metric, recorded.names)
            self.known = True

    def measures(self, phase: Phase) -> bool:
        """Whether the values of a phase are of weights that it does not change."""
        if isinstance(phase, AbstractTrainingPhase) or not isinstance(phase, self.phase or Phase):
            return False
        return isinstance(phase, AbstractValidationPhase) or self.phase not in (None, Phase)

    def label(self, learner: Any) -> str | None:
        """Which phase measures in the fit under way; None if none does, so that training ranks."""
        fitted = next(filter(self.measures, position_of(learner).phases), None)
        return self.inner if fitted is None else phase_label(fitted)

    def begin(self, learner: Any, phase: Phase) -> Begun | None:
        """An epoch begins; None if it ranks nothing."""
        if position_of(learner).length is None or not self.measures(phase):
            return None
        if self.label(learner) is None:
            self.inner = phase_label(phase)
        if self.label(learner) != phase_label(phase):
            return None
        try:
            with torch.no_grad():
                weights, _ = model_digests(learner)
        except NotSaveableError:  # a parameter that has no shape yet
            return None
        return Begun(weights, len(values_of(learner.cbstate, phase, self.metric)))

    def end(self, learner: Any, phase: Phase, begun: Begun | None, loss: EpochLoss) -> str | None:
        """An epoch has ended; the digest of the weights that it measured, or None."""
        if begun is None:
            return None
        value = value_of(learner.cbstate, phase, self.metric, begun.recorded, loss)
        self.measured = None if value is None else (begun.weights, value)
        return begun.weights if self.measured else None

    def by_training(self, learner: Any, phase: Phase) -> bool:
        """Whether the value of a phase of training ranks what is saved at its end."""
        return self.label(learner) is None and isinstance(phase, self.phase or Phase)

    def score(self, learner: Any, weights: str, training: tuple[Phase, float | None] | None) -> Score:
        """The score of a checkpoint.

        Args:
            weights: The digest of its weights.
            training: The phase of training at whose end it is saved, and its value, if that ranks; None elsewhere.
        """
        label, value = self.label(learner), None
        if label is not None:
            if self.measured is not None and self.measured[0] == weights:
                value = self.measured[1]
        elif training is not None:
            label, value = phase_label(training[0]), training[1]
        return Score(self.metric, label or (self.phase or AbstractTrainingPhase).__name__, self.mode, value)

    def state_dict(self) -> dict[str, Any]:
        """What was measured last."""
        return {"inner": self.inner, "measured": self.measured}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what was measured last."""
        self.inner, self.measured = state["inner"], state["measured"]


def values_of(cbstate: Mapping[str, Any], phase: Phase, metric: str) -> Any:
    """The values of the epochs of a phase that the callback `Metrics` recorded, a `Series`; or nothing."""
    if "metricsepoch" not in cbstate:
        return ()
    return cbstate["metricsepoch"][phase].get(metric, ())


def value_of(cbstate: Mapping[str, Any], phase: Phase, metric: str, before: int, loss: EpochLoss) -> float | None:
    """The value of an epoch that has ended: what `Metrics` recorded, or the loss that the steps had; or None.

    Args:
        before: How many values were recorded before it.
        loss: That of its steps.
    """
    value = recorded(cbstate, phase, metric, before)
    return loss.value if value is None and metric == "Loss" else value


def recorded(cbstate: Mapping[str, Any], phase: Phase, metric: str, before: int = 0) -> float | None:
    """The last value of a metric that the callback `Metrics` recorded; None if there is none.

    Args:
        before: How many values there were; if there are no more of them, none is new.

    Raises:
        CheckpointError: if values were recorded in that phase, and none of that name; for the loss it is None, since
            a phase need not have one: a GAN's has two of other names.
    """
    values = values_of(cbstate, phase, metric)
    if len(values) > before:
        return float(values.last[1])
    series = cbstate["metricsepoch"][phase] if "metricsepoch" in cbstate else ()
    if series and metric not in series and metric != "Loss":
        raise unknown(metric, series, phase)
    return None


def unknown(metric: str, names: Collection[str], phase: Phase | None = None) -> CheckpointError:
    """The error for a metric that is not among those that are recorded, in a phase."""
    where = "" if phase is None else f" of the epochs of {phase}"
    in_phases = f"\n    Checkpointer(folder, metric={metric!r}, phase=TrainingPhase)"
    return CheckpointError(
        f"There is no metric {metric!r}{where}. {did_you_mean(metric, names)}\n"
        f"Fix: name one that is recorded{'' if phase is None else ', or say in which phases this one is'}:\n"
        f"    Checkpointer(folder, metric={next(iter(names))!r}){'' if phase is None else in_phases}"
    )
