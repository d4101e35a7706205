"""`learner.fit(n, phases=...)`: a fit with phases of one's own is a fit like any other."""

import pytest
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelFittingException,
    TrainingPhase,
    ValidationPhase,
    fit,
    run_step,
    run_update,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError


class Tape(Callback):
    def __init__(self):
        self.lines = []

    def on_fit_begin(self):
        self.lines.append("fit")

    def on_epoch_begin(self, phase):
        self.lines.append(type(phase).__name__)

    def on_fit_end(self):
        self.lines.append("end")


class Idle(AbstractTrainingPhase):
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch):
            pass


class HeldOut(ValidationPhase):
    data_name = "test"


def test_the_phases_are_run_in_turn_as_often_as_was_asked_inside_of_one_fit():
    tape = Tape()
    result = toy_learner(tape).fit(2, phases=[Idle(), ValidationPhase()])
    assert tape.lines == ["fit", "Idle", "ValidationPhase", "Idle", "ValidationPhase", "end"]
    assert (result.epochs, result.steps) == (2, 32)


def test_without_phases_a_fit_trains_and_validates():
    tape = Tape()
    fit(toy_learner(tape), 1)
    assert tape.lines == ["fit", "TrainingPhase", "ValidationPhase", "end"]


def test_the_function_takes_phases_as_well():
    tape = Tape()
    fit(toy_learner(tape), 1, phases=(Idle(),))
    assert tape.lines == ["fit", "Idle", "end"]


def test_a_callback_that_ends_the_fit_in_a_custom_phase_is_not_an_error():
    class Stop(Callback):
        def on_step_begin(self, phase: Idle):
            raise CancelFittingException("Enough.")

    result = toy_learner(Stop()).fit(3, phases=[Idle()])
    assert (result.epochs, str(result.cancelled)) == (0, "Enough.")


def test_each_phase_runs_over_its_own_data():
    learner = toy_learner()
    data = {"training": learner.data.training[:3], "test": learner.data.training[:2]}
    assert learner.fit(1, data, phases=[TrainingPhase(), HeldOut()]).steps == 3


def test_a_phase_without_data_is_refused():
    with pytest.raises(
        DataError, match=r"runs over learner\.data\.test, and the learner has no such data \(there is: training, val"
    ):
        toy_learner().fit(1, phases=[HeldOut()])
    with pytest.raises(DataError, match=r"no such data \(there is: nothing\)\.\nFix: pass them:\n    epoch\("):
        toy_learner(data=()).fit(1)


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        (Idle(), r"^phases must be a list, got Idle\(\)\.\nFix: .*:\n    phases=\[Idle\(\)\]$"),
        (Idle, r"^phases must be a list, got the class Idle\.\nFix: .*:\n    phases=\[TrainingPhase\(\)\]$"),
        ([Idle], r"^phases\[0\] must be .*, got the class Idle\.\nFix: make an instance:\n    Idle\(\)$"),
        (["training"], r"^phases\[0\] must be an instance of Phase, got 'training'\."),
    ],
)
def test_what_is_not_a_list_of_phases_is_refused(phases, message):
    with pytest.raises(ArgumentTypeError, match=message):
        toy_learner().fit(1, phases=phases)


def test_an_empty_list_of_phases_is_refused():
    with pytest.raises(ArgumentValueError, match=r"^phases is empty\.\nFix: .*\n    phases=\[TrainingPhase\(\)\]"):
        toy_learner().fit(1, phases=[])


def test_the_plan_shows_the_phases_that_were_asked_for():
    tape = Tape()
    learner = toy_learner(tape)
    assert {phase for phase, _, _ in learner.plan().rows} == {"", "TrainingPhase", "ValidationPhase"}
    assert learner.plan([Idle(), Idle()]).rows == [
        ("", "on_fit_begin", (tape,)),
        ("", "on_fit_end", (tape,)),
        ("Idle", "on_epoch_begin", (tape,)),
    ]


def test_the_plan_of_what_is_not_a_list_of_phases_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"phases=\[Idle\(\)\]"):
        toy_learner().plan(Idle())


class Summing(AbstractTrainingPhase):
    """Adds up the gradients of every two steps, and says nothing else about them."""

    def __init__(self, tape):
        self.tape = tape

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0]) as (_, state):
            state.accumulating = learner.progress.step % 2 == 1
            state.loss = learner.model.weight.sum()
            run_update(learner, self)
            self.tape.append(learner.model.weight.grad.item())


def test_gradients_are_kept_until_a_step_says_otherwise():
    tape = []
    toy_learner(nbatches=5).fit(1, phases=[Summing(tape)])
    assert tape == [1, 2, 1, 2, 1]


def test_an_update_uses_the_gradients_up_also_between_two_epochs():
    tape = []
    learner = toy_learner(nbatches=3)
    learner.fit(2, phases=[Summing(tape)])
    assert tape == [1, 2, 1, 1, 2, 1]
    assert learner.model.weight.item() == pytest.approx(-0.006)  # at a rate of 0.001, twice an epoch
