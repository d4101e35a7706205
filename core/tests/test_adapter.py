"""A callback whose own methods are those of another library: its adapter handles in its place."""

import pytest
from treadle import Callback, EpochEnd, Read, StepEnd, TrainingPhase, Write, throttle, toy_learner
from treadle.authoring import handlers, handles
from treadle.errors import CallbackError, ProtectedException


class Adapter(Callback):
    def __init__(self, foreign) -> None:
        self.foreign = foreign

    def on_step_end(self, learner, phase: TrainingPhase):
        self.foreign.on_batch_end(learner)


class Foreign(Callback):
    state_access = {"step.loss": Read}

    def __init__(self) -> None:
        self.losses = []
        self.adapter = Adapter(self)

    def on_batch_end(self, learner):
        self.losses.append(learner.step.loss.item())

    def on_step_end(self):  # of another meaning there
        raise AssertionError


def test_the_adapters_methods_are_called_with_the_view_of_the_callback() -> None:
    foreign = Foreign()
    toy_learner(foreign, nbatches=3).fit(1)
    assert len(foreign.losses) == 3


def test_it_is_the_callback_that_others_find() -> None:
    foreign = Foreign()
    learner = toy_learner(foreign)
    assert learner.get_callback(Foreign) is foreign
    assert [*handlers(foreign)] == ["on_step_end"]
    assert handles(foreign, StepEnd, TrainingPhase)
    assert "on_step_end  Foreign" in str(learner.plan())


def test_it_can_be_throttled() -> None:
    foreign = Foreign()
    toy_learner(throttle(foreign, StepEnd, freq=2), nbatches=4).fit(1)
    assert len(foreign.losses) == 2
    with pytest.raises(
        CallbackError, match=r"has no `on_epoch_end`\.\nFix: name an event that it handles: on_step_end"
    ):
        throttle(foreign, EpochEnd, freq=2)


def test_what_it_does_not_declare_is_an_error_in_its_name() -> None:
    foreign = Foreign()
    foreign.state_access = {}
    with pytest.raises(ProtectedException, match=r"^Foreign reads `step.loss` and does not declare it"):
        toy_learner(foreign).fit(1)


def test_an_error_is_the_callbacks_and_not_the_adapters() -> None:
    foreign = Foreign()
    foreign.on_batch_end = lambda learner: 1 / 0
    with pytest.raises(ZeroDivisionError) as info:
        toy_learner(foreign).fit(1)
    assert info.value.__notes__[0].startswith("Raised by Foreign in on_step_end")


def test_it_takes_part_in_a_prediction_if_it_declares_that_it_changes_what_is_computed() -> None:
    class Zeros(Callback):
        def __init__(self, foreign) -> None:
            self.foreign = foreign

        def on_step_begin(self, learner):
            learner.step.xs = 0 * learner.step.xs

    class Changes(Callback):
        state_access = {"step.xs": Write}

        def __init__(self) -> None:
            self.adapter = Zeros(self)

    learner = toy_learner(Changes())
    learner.model.weight.data.fill_(1.0)
    assert not learner.predict(learner.data.validation).any()
