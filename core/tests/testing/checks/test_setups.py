"""The check of other setups: what works in one training may not in another."""

import pytest
from treadle import Callback, Read, TrainingPhase, Write
from treadle.authoring import named_tensors
from treadle.testing import CallbackCheckError, check_callback


def remarks_of(factory) -> list[str]:
    return [remark.splitlines()[0] for remark in check_callback(factory, nbatches=3).remarks]


class Clips(Callback):
    """Clips gradients by their value, where it has always been done."""

    state_access = {"step.grads": Write}

    def on_backward_end(self, learner):
        for _, gradient in named_tensors(learner.step.grads):
            gradient.clamp_(-0.1, 0.1)


class ClipsWhole(Callback):
    """Clips gradients where they are whole."""

    state_access = {"step.grads": Write}

    def on_update_begin(self, learner):
        for _, gradient in named_tensors(learner.step.grads):
            gradient.clamp_(-0.1, 0.1)


class Norms(Callback):
    """Looks at the gradients when a step has ended."""

    state_access = {"step.grads": Read}

    def on_step_end(self, learner, phase: TrainingPhase):
        assert len(learner.step.grads)


def partial(hook: str) -> str:
    return (
        f"{hook} of a callback that uses `step.grads` is called where the gradients may be scaled, or those of a part "
        f"of an update; callbacks that accumulate or scale refuse it."
    )


def test_who_uses_gradients_where_they_may_be_partial_is_shown_the_event_where_they_are_whole() -> None:
    assert partial("on_backward_end") in remarks_of(Clips)
    assert partial("on_step_end") in remarks_of(Norms)
    assert not any("scaled" in remark for remark in remarks_of(ClipsWhole))


class AnUpdateForEachStep(Callback):
    """Takes for granted that each step updates the parameters."""

    def on_step_end(self, learner, phase: TrainingPhase):
        progress = learner.progress
        if progress.updates != progress.steps:
            raise RuntimeError(f"{progress.steps} steps, {progress.updates} updates")


def test_who_takes_each_step_for_an_update_fails_with_accumulated_gradients() -> None:
    with pytest.raises(
        CallbackCheckError, match=r"It fails with accumulated gradients:\n\s+RuntimeError: 1 steps, 0 updates"
    ):
        check_callback(AnUpdateForEachStep, nbatches=3)
