"""What ended a fit for good comes back from a checkpoint as what it was: of the same type, with the same fields."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from math import isnan
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import Callback, CancelFittingException, Phase, TrainingPhase, throttle, toy_learner
from treadle.errors import MismatchError, NotSaveableError
from treadle.events import EpochEnd
from treadle_checkpoint import Checkpointer, resume


class Plain(CancelFittingException):
    final = True


class WithFields(Plain):
    def __init__(self, value: Any, *, more: Any) -> None:
        super().__init__(f"because of {value!r}", value)
        self.value, self.more = value, more

    def __str__(self) -> str:
        return f"ended {self.args[0]}"


class WithSlots(Plain):
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


@dataclass
class AsDataclass(CancelFittingException):
    value: Any
    final: bool = True


class Declares(Plain):
    """Carries what no checkpoint holds, and says what to hold of it."""

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.look = lambda: value

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.look()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.__init__(state["value"])


def made_here() -> type[Plain]:
    class Inner(Plain): ...

    return Inner


class Stop(Callback):
    """Ends the fit in a step or at the end of an epoch."""

    def __init__(self, cancel: CancelFittingException | None, *, in_step: bool = False) -> None:
        self.cancel, self.in_step = cancel, in_step

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if self.cancel is not None and self.in_step and learner.progress.step == 2:
            raise self.cancel

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        if self.cancel is not None:
            raise self.cancel


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
VALUES = st.recursive(
    PLAIN | st.just(torch.arange(3.0)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
Local = made_here()
CANCELS = st.one_of(
    st.builds(Plain),
    st.builds(Plain, VALUES, VALUES),
    st.builds(Local, VALUES),
    st.builds(WithFields, VALUES, more=VALUES),
    st.builds(WithSlots, VALUES),
    st.builds(AsDataclass, VALUES),
    st.builds(Declares, VALUES),
)


def same(first: Any, second: Any) -> bool:
    """Whether two values are of one type and equal, bit for bit."""
    if type(first) is not type(second):
        return False
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or (isinstance(first, float) and isnan(first) and isnan(second))


def resumed_result(folder: str, *callbacks: Callback, **options: Any) -> Any:
    again = toy_learner(*callbacks, nbatches=4)
    resume(again, folder, **options)
    return again.fit(3)


@settings(max_examples=30, deadline=None)
@given(cancel=CANCELS, in_step=st.booleans(), throttled=st.booleans(), twice=st.booleans())
def test_a_run_that_was_ended_for_good_ends_by_an_equal_cancel_when_it_is_resumed(cancel, in_step, throttled, twice):
    def callbacks(cancel):
        stop = Stop(cancel, in_step=in_step)
        stops = [throttle(stop, EpochEnd, freq=1) if throttled else stop]
        return [Stop(None), *stops] if twice else stops

    with tempfile.TemporaryDirectory() as folder:
        first = toy_learner(*callbacks(cancel), Checkpointer(folder), nbatches=4).fit(3).cancelled
        assert first is cancel
        again = callbacks(None)
        result = resumed_result(folder, *again, Checkpointer(folder))
    assert result.steps == 0
    assert type(result.cancelled) is type(cancel)
    assert str(result.cancelled) == str(cancel)
    assert same(result.cancelled.state_dict(), cancel.state_dict())
    assert result.cancelled.callback is again[-1]


def test_what_no_callback_raised_is_final_as_well(tmp_path):
    class Ends(TrainingPhase):
        def step(self, learner, batch):
            super().step(learner, batch)
            raise Plain("done")

    toy_learner(Checkpointer(tmp_path), nbatches=4).fit(3, phases=[Ends()])
    again = toy_learner(Checkpointer(tmp_path), nbatches=4)
    resume(again, tmp_path)
    result = again.fit(3, phases=[Ends()])
    assert (result.steps, repr(result.cancelled), result.cancelled.callback) == (0, "Plain('done')", None)


def test_a_cancel_that_carries_what_no_checkpoint_holds_is_refused_at_the_save_by_name(tmp_path):
    learner = toy_learner(Stop(WithFields(1, more=object())), Checkpointer(tmp_path))
    with pytest.raises(
        NotSaveableError,
        match=r"by a WithFields, of which .* WithFields/attributes/more, a object .*\nFix: override state_dict",
    ):
        learner.fit(3)


def test_a_cancel_of_a_class_that_is_not_there_is_refused_by_name_and_leaves_the_learner_as_it_was(tmp_path):
    Stop.gone = type("Gone", (Plain,), {"__module__": "elsewhere"})
    toy_learner(Stop(Stop.gone("over")), Checkpointer(tmp_path)).fit(3)
    Stop.gone.__module__ = "not_here_any_more"
    again = toy_learner(Stop(None), Checkpointer(tmp_path))
    with pytest.raises(MismatchError, match=r"by a elsewhere:Gone, and there is no such class\.\nFix: import it"):
        resume(again, tmp_path)
    assert again.progress.epochs == 0
    del Stop.gone
    assert resumed_result(tmp_path, Stop(None), without=["Stop", "Checkpointer"]).epochs == 2
