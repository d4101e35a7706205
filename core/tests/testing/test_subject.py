from typing import ClassVar

import pytest
from treadle import Callback, Read, TrainingPhase
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.testing import check_callback


def test_an_explanation_of_what_is_not_declared_is_an_error(Mean):
    with pytest.raises(
        ArgumentValueError,
        match=r"unused_ok has 'step\.los', which Mean neither declares nor handles\.\nFix: .* `step\.loss`",
    ):
        check_callback(Mean, unused_ok={"step.los": "why"})
    with pytest.raises(ArgumentValueError, match=r"unused_ok has 'step\.loss' without a reason"):
        check_callback(Mean, unused_ok={"step.loss": ""})


def test_a_callback_in_place_of_a_function_is_an_error(Mean):
    with pytest.raises(
        ArgumentTypeError,
        match=r"was given <Mean>, and it needs a function(.|\n)*Fix: .*\n    check_callback\(lambda: Mean",
    ):
        check_callback(Mean())


def test_a_function_that_makes_something_else_is_an_error():
    with pytest.raises(ArgumentTypeError, match="returned 3, which is not a Callback"):
        check_callback(lambda: 3)


def test_one_partner_without_a_list_is_an_error(Mean):
    with pytest.raises(ArgumentTypeError, match=r"partners is .*Mean.*, not a list"):
        check_callback(Mean, partners=Mean)


def test_the_trainings_are_as_long_as_asked_for(failed):
    class Every(Callback):
        state_access = {"step.loss": Read}
        steps = 0
        seen: ClassVar[list[int]] = []

        def on_step_end(self, learner, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 100:
                self.seen.append(learner.step.loss.ndim)

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    assert "`step.loss` is declared and not used" in failed(Every)["access"]
    assert check_callback(Every, nbatches=50).failed == 0
