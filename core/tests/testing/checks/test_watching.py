import random

import torch
from treadle import Callback, CancelEpochException, CancelFittingException, Read, TrainingPhase, Write
from treadle.testing import check_callback


def test_a_number_that_an_observer_draws_is_found(failed):
    class Samples(Callback):
        def on_epoch_begin(self, learner, phase: TrainingPhase):
            torch.rand(1)

    found = failed(Samples)
    assert found["watching"] == (
        "After step 1 the weights are different from those without it.\n"
        "Fix: leave the learner's state and the random generators as they are; draw from a generator of your own:\n"
        "    torch.Generator(), random.Random()"
    )
    assert "the random generator of torch was changed." in found["audit"]


def test_a_number_that_is_drawn_in_the_end_is_found(failed):
    class Samples(Callback):
        def on_fit_end(self, learner):
            random.random()

    assert failed(Samples)["watching"].startswith(
        "After the fit the random generators are in another state than without it.\nFix: "
    )


def test_a_callback_that_declares_a_write_may_change_the_training(skipped):
    class MixesIn(Callback):
        state_access = {"step.xs": Write}

        def on_step_begin(self, learner, phase: TrainingPhase):
            learner.step.xs = learner.step.xs + 0.01 * torch.randn_like(learner.step.xs)

    assert skipped(check_callback(MixesIn)) == {
        "init": "It has no on_init.",
        "watching": "It declares a Write of step.xs.",
    }


def test_a_callback_that_stops_the_fit_only_makes_it_shorter(skipped):
    class Stops(Callback):
        state_access = {"step.loss": Read}
        steps = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 20:
                raise CancelFittingException(f"the loss is {learner.step.loss > 0}")

        def state_dict(self):
            return {"steps": self.steps}

        def load_state_dict(self, state):
            self.steps = state["steps"]

    assert skipped(check_callback(Stops)) == {"init": "It has no on_init."}


def test_a_callback_that_stops_the_fit_at_once_has_no_state_to_go_on_from(skipped):
    class Stops(Callback):
        def on_step_end(self, learner):
            raise CancelFittingException("enough")

    assert skipped(check_callback(Stops))["state"] == (
        "It ends the fit in its first step, so there is no state to go on from."
    )


def test_a_callback_that_cancels_epochs_changes_the_training_by_an_exception(skipped):
    class Short(Callback):
        def on_step_begin(self, learner, phase: TrainingPhase):
            raise CancelEpochException

    assert skipped(check_callback(Short))["watching"] == ("It cancels steps or epochs: 0 of 32 steps ran to their end.")
