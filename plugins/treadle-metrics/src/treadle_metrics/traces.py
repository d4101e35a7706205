"""`Traces`: records any number of each step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from treadle import Callback, ConflictResolution, NoConflict, NotDefined, Phase, Read, Unresolvable, Write
from treadle.access import Permission
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_metrics.abstract_metric import number
from treadle_metrics.metric_arguments import check_takes, checked_name, checked_phase
from treadle_metrics.series_by_phase import SeriesByPhase


class Traces(Callback):
    """Record numbers that functions make of the learner at the end of each step.

    `learner.cbstate.tracehistory[phase]` maps a name to a `Series`, whose iterations are the completed steps
    of the phase. The functions run without gradients. Several `Traces` can be used together.

    Args:
        functions: Maps a name to `fn(learner)`, which returns a number or a tensor with one element, or None
            in a step that has nothing to record: `lambda learner: learner.step.get("penalty")`.
        phase: The type of phase in which to record. Default: every phase.
        state_access: What the functions read of the learner beside `step`. Default: nothing.

    Reads: `step`, `cbstate.history`, and what `state_access` says.
    Writes: `cbstate.tracehistory`.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `functions` does not map names to functions of the learner, or is
            empty, or `phase` is not a type of phase.
        MetricError: in a step, if a function returns something else.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> from treadle_metrics import Recorder
        >>> traces = Traces({"Squared loss": lambda learner: learner.step.loss**2}, phase=TrainingPhase)
        >>> learner = toy_learner(Recorder(), traces)
        >>> _ = learner.fit(1)
        >>> len(learner.cbstate.tracehistory[TrainingPhase()]["Squared loss"])
        16
    """

    state_access = {"step": Read, "cbstate.history": Read, "cbstate.tracehistory": Write}
    run_after = ("recorder",)

    @classmethod
    def example(cls) -> Self:
        return cls({"Loss": lambda learner: learner.step.loss})

    def __init__(
        self,
        functions: Mapping[str, Callable[[Any], Any]],
        phase: Any = Phase,
        *,
        state_access: Mapping[str, type[Permission]] | None = None,
    ) -> None:
        fix = 'Fix: name them:\n    Traces({"Squared loss": lambda learner: learner.step.loss**2})'
        if not isinstance(functions, Mapping) or not all(map(callable, functions.values())):
            raise ArgumentTypeError(f"Traces takes functions of the learner by name, got {functions!r}.\n{fix}")
        if not functions:
            raise ArgumentValueError(f"Traces got no function, so it would record nothing.\n{fix}")
        for name, fn in functions.items():
            checked_name(name, "a trace", 'Traces({"Error": fn})')
            check_takes(fn, f"The trace {name!r}", "learner")
        if not isinstance(state_access, Mapping | None):
            raise ArgumentTypeError(
                f"Traces(state_access) maps paths to Read or Write, got {state_access!r}.\n"
                f'Fix: write, for example:\n    Traces(functions, state_access={{"params": Read}})'
            )
        self.functions = dict(functions)
        self.phase = checked_phase(phase)
        self.state_access = {**(state_access or {}), **Traces.state_access}

    def on_init(self, learner: Any) -> None:
        if "tracehistory" not in learner.cbstate:
            learner.cbstate.tracehistory = SeriesByPhase("step")

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if not isinstance(phase, self.phase):
            return
        recorded = learner.cbstate.tracehistory.of(phase)
        steps = learner.cbstate.history[phase].steps
        with torch.no_grad():
            for name, fn in self.functions.items():
                value = fn(learner)
                if value is not None:
                    recorded.of(name).push(steps, number(value, name, "trace"))

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if not isinstance(other, Traces):
            return NotDefined()
        if shared := self.functions.keys() & other.functions.keys():
            return Unresolvable(f"Both record a trace called {min(shared)!r}. Rename one of the two.")
        return NoConflict()
