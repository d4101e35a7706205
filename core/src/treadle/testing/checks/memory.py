"""Does it keep the graph of a step, the step's state or a view of the learner longer than it should?"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from treadle.access import Read
from treadle.callback import Callback, unwrap
from treadle.learner import Learner
from treadle.phases import Phase
from treadle.state.propdict import PropDict
from treadle.state.views import View
from treadle.state.views.read_only import ReadOnly
from treadle.testing.comparison.attributes import CONTAINERS, parts_of, reached
from treadle.testing.comparison.frozen import attributes
from treadle.testing.kinds import EPOCHS
from treadle.testing.report import Checked, DoesNotApply, Finding
from treadle.testing.subject import Subject, seeded

FIX_GRAPH = "keep the number, or the tensor without its graph:\n    learner.step.loss.detach()"
FIX_STATE = "keep what is needed of it, not all of it:\n    self.loss = learner.step.loss.detach()"
FIX_VIEW = "take the learner as an argument where it is used:\n    def on_step_end(self, learner): ..."


class Marker:
    """Lives as long as the graph that it is put into."""


class Watch(Callback):
    """Looks after each step which graphs and states of the steps before it are still there."""

    state_access = {"step": Read}

    def __init__(self) -> None:
        self.name = "\U0010ffff"  # last in the order
        self.learner: Learner | None = None
        self.graphs: list[list[weakref.ref[Any]]] = []
        self.states: list[weakref.ref[Any]] = []

    def on_step_end(self, phase: Phase) -> None:
        assert self.learner is not None
        state = self.learner.step
        self.states.append(weakref.ref(state))
        markers = []
        for value in vars(state).values():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                marker = Marker()
                metadata: Any = value.grad_fn.metadata  # a property, which torch annotates as a method
                metadata["treadle"] = marker
                markers.append(weakref.ref(marker))
        if markers:
            self.graphs.append(markers)


def check(subject: Subject) -> Checked:
    """It keeps no graph, no state of a step and no view.

    How: By weak references to the graphs and the states of the steps. A remark where the number of tensors that it
        holds grows with the steps.
    Guarantee: 6, the budget: memory does not grow with the number of steps.
    Message: ... is the learner or a view of it, and belongs to this learner alone.
    Message: The graphs of ... steps, with what was computed in them, are still there at the end of the fit
    Message: The states of ... steps are still there after their steps.
    """
    watch = Watch()
    with seeded():
        run = subject.run(watch)
        watch.learner = run.learner
        grown = []
        for _ in range(EPOCHS):
            run.fit(1)
            assert run.callback is not None
            grown.append(sum(isinstance(value, torch.Tensor) for value in held_by(run.callback)))
    steps = run.learner.progress.steps
    run.learner.step, run.result = PropDict(), None  # whose exception has a traceback
    gc.collect()
    assert run.callback is not None
    name = subject.name
    if where := view_in(unwrap(run.callback)):
        raise Finding(
            f"{name}.{where} is the learner or a view of it, and belongs to this learner alone.\nFix: {FIX_VIEW}"
        )
    *earlier, last = [any(marker() is not None for marker in markers) for markers in watch.graphs] or [False]
    if kept := sum(earlier):
        raise Finding(
            f"The graphs of {kept} steps, with what was computed in them, are still there at the end of the fit: "
            f"{name} keeps a tensor that needs a gradient.\nFix: {FIX_GRAPH}"
        )
    if kept := sum(state() is not None for state in watch.states):
        raise Finding(f"The states of {kept} steps are still there after their steps.\nFix: {FIX_STATE}")
    remarks = list(growth(name, grown, steps))
    if last:
        remarks.append(
            f"The graph of the last step is still there after it: {name} keeps a tensor that needs a gradient.\n"
            f"Fix: {FIX_GRAPH}"
        )
    if not watch.states:
        raise DoesNotApply("No step of a toy training ends with it, so there is nothing that it could keep.")
    return Checked(len(watch.states), "steps", remarks)


def growth(name: str, grown: list[int], steps: int) -> Iterator[str]:
    """A remark if the number of tensors that a callback holds grows with every step."""
    if len(grown) > 1 and grown[-1] - grown[0] >= steps / len(grown):
        yield (
            f"{name} holds {grown[-1] - grown[0]} more tensors after another epoch.\n"
            f"Fix: keep numbers, or forget what is not needed:\n    treadle.Series()"
        )


def held_by(callback: Callback) -> Iterable[Any]:
    """All that a callback holds, down to a depth."""
    return reached(attributes(unwrap(callback)), most=100_000)


def view_in(holder: Any, depth: int = 3) -> str | None:
    """The name of an attribute that is a learner or a view, or contains one."""
    held = attributes(holder)
    return next((name for name, value in held.items() if holds_view(value, depth)), None)


def holds_view(value: Any, depth: int) -> bool:
    """Whether it is a learner or a view, or contains one."""
    if isinstance(value, (View, ReadOnly, Learner)):
        return True
    return (
        bool(depth) and isinstance(value, CONTAINERS) and any(holds_view(item, depth - 1) for item in parts_of(value))
    )
