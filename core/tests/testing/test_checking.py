import itertools
import random
import threading
import time
from typing import ClassVar

import pytest
import torch
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    Event,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.testing import CallbackCheckError, Report, check_callback, toy_learner

NAMES = ["declarations", "handlers", "init", "training", "access", "audit", "watching", "state", "runners"]


class Mean(Callback):
    """A callback that keeps every promise: the mean loss of all training steps."""

    state_access = {"step.loss": Read, "cbstate.mean": Write}

    def __init__(self) -> None:
        self.total, self.steps = 0.0, 0

    def on_init(self, learner):
        learner.cbstate.mean = 0.0

    def on_step_end(self, learner, phase: TrainingPhase):
        self.total += learner.step.loss.item()
        self.steps += 1
        learner.cbstate.mean = self.total / self.steps

    def state_dict(self):
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state):
        self.total, self.steps = state["total"], state["steps"]


def failed(factory, **options) -> dict[str, str]:
    """What the checks find, by the name of the check."""
    with pytest.raises(CallbackCheckError) as caught:
        check_callback(factory, **options)
    return {result.name: result.detail for result in caught.value.report.results if result.outcome == "failed"}


def skipped(report: Report) -> dict[str, str]:
    return {result.name: result.detail for result in report.results if result.outcome == "skipped"}


def test_a_callback_that_keeps_its_promises_passes_every_check():
    report = check_callback(Mean)
    assert [(result.name, result.outcome) for result in report.results] == [(name, "passed") for name in NAMES]


def test_checking_draws_no_random_number():
    before = torch.get_rng_state(), random.getstate()
    check_callback(Mean, nbatches=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_the_error_is_the_report_with_the_findings():
    class Idle(Mean):
        state_access = {**Mean.state_access, "params": Read}

    with pytest.raises(CallbackCheckError) as caught:
        check_callback(Idle)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Idle: 9 checks run, 0 skipped, 1 failed"
    assert lines[5] == "  failed   access        It uses what it declares, and nothing else"
    assert lines[6].startswith("      `params` is declared and was not used: take it out.")


# Declarations and handlers.


def test_a_declaration_that_makes_no_sense_is_an_error_at_once():
    class Typo(Mean):
        state_access = {"stpe.loss": Read}

    with pytest.raises(ValueError, match="a learner has no `stpe`"):
        check_callback(Typo)


def test_state_that_nobody_writes_is_found_and_what_needs_a_learner_is_left_out():
    class Reader(Callback):
        state_access = {"cbstate.average": Read}

        def on_step_end(self, learner): ...

    with pytest.raises(CallbackCheckError) as caught:
        check_callback(Reader)
    results = {result.name: result for result in caught.value.report.results}
    assert "Reader reads `cbstate.average`, and no callback writes it." in results["declarations"].detail
    assert [results[name].outcome for name in NAMES] == ["failed", "passed", *["skipped"] * 7]
    assert results["audit"].detail == "no learner can be built with it, see declarations."


def test_a_partner_writes_what_the_callback_reads():
    class Reader(Callback):
        state_access = {"cbstate.mean": Read}

        def on_epoch_end(self, learner, phase: TrainingPhase):
            assert learner.cbstate.mean > 0

    assert check_callback(Reader, partners=[Mean]).failed == 0


def test_one_callback_for_all_trainings_is_found():
    mean = Mean()
    assert failed(lambda: mean)["declarations"] == (
        "the function gave the same callback twice; it has to make a new one at each call."
    )


def test_declarations_that_differ_from_one_to_the_next_are_found():
    numbers = itertools.count()

    class Numbered(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.name = f"Numbered {next(numbers)}"

    assert failed(Numbered)["declarations"] == "two callbacks made alike differ in their name or state_access."


def test_a_handler_with_an_argument_that_its_event_has_not_is_found():
    class Wrong(Callback):
        def on_step_end(self, learner, batch): ...

    assert "which is on_step_end(self, learner, phase)" in failed(Wrong)["handlers"]


def test_a_callback_without_a_handler_is_found():
    class Nothing(Callback):
        pass

    assert failed(Nothing)["handlers"].startswith("it has no handler, so it never does anything")


# on_init.


def test_an_on_init_that_cannot_run_again_is_found():
    class Appends(Callback):
        state_access = {"cbstate.inits": Write}

        def on_init(self, learner):
            inits = learner.cbstate.inits if "inits" in learner.cbstate else 0
            learner.cbstate.inits = inits + 1

    assert failed(Appends)["init"] == "a second on_init changed `cbstate.inits` (changed)."


def test_an_on_init_that_changes_its_own_state_each_time_is_found():
    class Counts(Callback):
        count = 0

        def on_init(self):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    assert failed(Counts)["init"] == "a second on_init changed what state_dict gives."


def test_without_an_on_init_there_is_nothing_to_repeat():
    class Quiet(Callback):
        def on_step_end(self): ...

    assert skipped(check_callback(Quiet)) == {"init": "it has no on_init."}


# The toy training.


class Drawn(Event):
    """An event that no training of ours dispatches."""


class Custom(Mean):
    def on_drawn(self, learner): ...


def test_a_handler_that_a_training_never_calls_is_found():
    assert failed(Custom)["training"] == (
        '2 epochs of training and validation did not call on_drawn. Explain each: unused_ok={"on_drawn": "why"}'
    )


def test_a_handler_that_was_explained_is_none():
    assert check_callback(Custom, unused_ok={"on_drawn": "for replay buffers"}).failed == 0


def test_an_error_in_a_handler_is_told_with_its_place_and_the_rest_says_so():
    class Broken(Callback):
        state_access = {"step.loss": Read}

        def on_step_end(self, learner, phase: ValidationPhase):
            raise KeyError("mean")

    with pytest.raises(CallbackCheckError) as caught:
        check_callback(Broken)
    results = {result.name: result for result in caught.value.report.results}
    assert results["training"].detail == (
        "KeyError: 'mean'\nRaised by Broken in on_step_end, ValidationPhase, epoch 1, step 1."
    )
    assert results["audit"].detail == "the toy training did not come to its end, see `training`."


def test_an_access_that_is_not_declared_is_told_with_the_line_to_add():
    class Reads(Callback):
        def on_step_end(self, learner):
            return learner.step.loss

    assert 'Add to Reads.state_access: "step.loss": Read' in failed(Reads)["training"]


# Declared and used.


def test_a_write_that_is_only_read_is_found():
    class Looks(Callback):
        state_access = {"optimizer": Write}

        def on_step_end(self, learner):
            return learner.optimizer.param_groups[0]["lr"]

    assert failed(Looks)["access"].startswith("`optimizer` is declared `Write` and only read: declare it `Read`.")


def test_a_write_in_place_counts_as_one():
    class Scales(Callback):
        state_access = {"optimizer": Write, "step.grads": Write}

        def on_backward_end(self, learner):
            learner.optimizer.param_groups[0]["lr"] *= 0.9
            learner.step.grads["weight"].mul_(0.5)

    assert check_callback(Scales, learner=toy_learner).failed == 0


def test_a_path_that_is_not_used_can_be_explained():
    class Rare(Callback):
        state_access = {"step.loss": Read, "model": Read}

        def on_step_end(self, learner):
            if learner.step.loss.isnan():
                raise ValueError(f"{learner.model}")

    assert "`model` is declared and was not used" in failed(Rare)["access"]
    assert check_callback(Rare, unused_ok={"model": "only told when the loss is NaN"}).failed == 0


# The audit.


def test_a_change_in_place_of_what_is_only_read_is_found():
    class Clamps(Callback):
        state_access = {"step.grads": Read, "params": Read}

        def on_backward_end(self, learner):
            for name in learner.params:
                learner.step.grads[name].clamp_(-0.01, 0.01)

    found = failed(Clamps)
    assert found["audit"] == (
        "Clamps.on_backward_end did what Clamps does not declare:\n"
        '  the gradient of `params.weight` was changed in place. Change in Clamps.state_access: "step.grads": Write'
    )
    assert found["watching"] == "after step 1 the weights are others than without it."


def test_a_partner_is_not_put_down_to_the_callback():
    class Sneaky(Callback):
        state_access = {"step.xs": Read}

        def on_step_end(self, learner):
            learner.step.xs.add_(0)

    assert check_callback(Mean, partners=[Sneaky]).failed == 0


# Watching.


def test_a_number_that_an_observer_draws_is_found():
    class Samples(Callback):
        def on_epoch_begin(self, learner, phase: TrainingPhase):
            torch.rand(1)

    found = failed(Samples)
    assert found["watching"] == "after step 1 the weights are others than without it."
    assert "the random generator of torch was changed." in found["audit"]


def test_a_number_that_is_drawn_in_the_end_is_found():
    class Samples(Callback):
        def on_fit_end(self, learner):
            random.random()

    assert failed(Samples)["watching"] == "after the fit the random generators stand elsewhere than without it."


def test_who_declares_a_write_may_change_the_training():
    class MixesIn(Callback):
        state_access = {"step.xs": Write}

        def on_step_begin(self, learner, phase: TrainingPhase):
            learner.step.xs = learner.step.xs + 0.01 * torch.randn_like(learner.step.xs)

    assert skipped(check_callback(MixesIn)) == {
        "init": "it has no on_init.",
        "watching": "it declares a Write of step.xs.",
    }


def test_who_stops_the_fit_only_makes_it_shorter():
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

    assert skipped(check_callback(Stops)) == {"init": "it has no on_init."}


def test_who_stops_the_fit_at_once_has_no_state_to_go_on_from():
    class Stops(Callback):
        def on_step_end(self, learner):
            raise CancelFittingException("enough")

    assert skipped(check_callback(Stops))["state"] == (
        "it ends the fit in its first epoch, so there is nothing to go on from."
    )


def test_who_cancels_epochs_changes_the_training_by_an_exception():
    class Short(Callback):
        def on_step_begin(self, learner, phase: TrainingPhase):
            raise CancelEpochException

    assert skipped(check_callback(Short))["watching"] == (
        "it cancels steps or epochs: 0 of 32 steps came to their end."
    )


# State.


def test_a_counter_that_no_checkpoint_keeps_is_found():
    class Forgets(Callback):
        state_access = {"cbstate.count": Write}
        count = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.count += 1
            learner.cbstate.count = self.count

    assert failed(Forgets) == {
        "state": "with a new callback that goes on from its state, `cbstate.count` holds something else in the end."
    }


def test_a_decision_that_differs_after_a_checkpoint_is_found():
    class Stops(Callback):
        steps = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 20:
                raise CancelFittingException("20 steps")

    assert failed(Stops)["state"] == (
        "with a new callback that goes on from its state, fit ended after 2 epochs and 32 steps instead of "
        "fit ended after 1 epochs and 20 steps, cancelled: 20 steps."
    )


def test_a_state_that_is_loaded_wrongly_is_found():
    class Loses(Mean):
        def load_state_dict(self, state):
            self.total = state["total"]

    assert failed(Loses)["state"] == "after load_state_dict, state_dict gives something else than was loaded."


def test_a_state_without_a_way_back_is_found():
    class OneWay(Callback):
        def on_step_end(self): ...

        def state_dict(self):
            return {"a": 1}

    assert "OneWay was given state to take over and has no `load_state_dict`" in failed(OneWay)["state"]


def test_a_state_that_is_not_plain_is_found_with_its_place():
    class Keeps(Mean):
        def state_dict(self):
            return {"history": [{"seen": {1, 2}}]}

        def load_state_dict(self, state): ...

    assert failed(Keeps)["state"] == (
        "state_dict gives a set under 'history' at 0 under 'seen'. A checkpoint keeps tensors, None, bool, int, "
        "float and str, and lists, tuples and dictionaries of these."
    )


def test_an_entry_of_cbstate_that_is_not_plain_is_found():
    class Keeps(Callback):
        state_access = {"cbstate.seen": Write}

        def on_init(self, learner):
            learner.cbstate.seen = {1}

    assert failed(Keeps)["state"] == (
        "`cbstate.seen` holds a set. A checkpoint keeps tensors, None, bool, int, float and str, and lists, tuples "
        "and dictionaries of these. Or let it have state_dict and load_state_dict of its own."
    )


# Threads.


def test_what_only_works_in_the_main_thread_is_found():
    class Main(Callback):
        state_access = {"cbstate.mains": Write}

        def on_step_end(self, learner, phase: TrainingPhase):
            learner.cbstate.mains = threading.current_thread() is threading.main_thread()

    assert failed(Main) == {"runners": "with ThreadedRunner, `cbstate.mains` holds something else in the end."}


# Options.


def test_a_check_that_is_left_out_is_counted_with_its_reason():
    class Clock(Callback):
        state_access = {"cbstate.at": Write}

        def on_step_end(self, learner):
            learner.cbstate.at = time.perf_counter()

    reason = "the time is another in each run"
    report = check_callback(Clock, skip={"state": reason, "runners": reason})
    assert (report.run, report.skipped, report.failed) == (6, 3, 0)
    assert skipped(report)["state"] == reason


def test_a_check_that_is_left_out_without_a_reason_is_an_error():
    with pytest.raises(
        ArgumentValueError, match=r"skip leaves out 'state' without a reason: skip=\{\"state\": \"why\"\}"
    ):
        check_callback(Mean, skip={"state": " "})
    with pytest.raises(ArgumentTypeError, match="skip maps each check to the reason, got"):
        check_callback(Mean, skip=["state"])


def test_a_check_that_there_is_not_is_an_error():
    with pytest.raises(
        ArgumentValueError, match=r"skip leaves out 'stat', and there is no such check\. Did you mean `state`"
    ):
        check_callback(Mean, skip={"stat": "why"})


def test_an_explanation_of_what_is_not_declared_is_an_error():
    with pytest.raises(
        ArgumentValueError, match=r"unused_ok explains 'step\.los', and Mean neither declares nor handles it"
    ):
        check_callback(Mean, unused_ok={"step.los": "why"})
    with pytest.raises(ArgumentValueError, match=r"unused_ok leaves out 'step\.loss' without a reason"):
        check_callback(Mean, unused_ok={"step.loss": ""})


def test_a_callback_in_place_of_a_function_is_an_error():
    with pytest.raises(
        ArgumentTypeError, match=r"so a function that makes one is needed, got <Mean>: check_callback\(lambda: Mean"
    ):
        check_callback(Mean())


def test_a_function_that_makes_something_else_is_an_error():
    with pytest.raises(ArgumentTypeError, match="The function makes 3, which is no callback"):
        check_callback(lambda: 3)


def test_one_partner_without_a_list_is_an_error():
    with pytest.raises(ArgumentTypeError, match="partners is a list"):
        check_callback(Mean, partners=Mean)


def test_the_trainings_are_as_long_as_asked_for():
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

    assert "`step.loss` is declared and was not used" in failed(Every)["access"]
    assert check_callback(Every, nbatches=50).failed == 0
