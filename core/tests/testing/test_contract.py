import random
import time

import pytest
import torch
from treadle import Callback, NoConflict, NotDefined, Read, Write
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.testing import CallbackCheckError, CallbackContract, check_callback
from treadle.testing.contract import CHECKS

pytest_plugins = ["pytester"]

TESTS = """
from treadle import Callback, Read, TrainingPhase
from treadle.testing import CallbackContract

class Peak(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: TrainingPhase):
        self.peak = learner.step.loss.detach()

class Doubled(Peak):
    def on_step_end(self, learner, phase: TrainingPhase):
        learner.step.loss.detach().mul_(2)

class TestPeak(CallbackContract):
    skip = {"state": "the last peak does not matter"}
    settings = {"nbatches": 2}

    def make(self):
        return Peak()

class TestDoubled(TestPeak):
    def make(self):
        return Doubled()
"""


def test_a_callback_that_keeps_its_promises_passes_every_check(Mean):
    report = check_callback(Mean)
    assert [(result.name, result.outcome) for result in report.results] == [(name, "passed") for name in CHECKS]


@pytest.mark.parametrize(
    ("attributes", "observer"),
    [
        ({}, 'yes; with observer_errors="warn" its errors are reported and end no fit'),
        ({"essential": True}, "no; it is essential, so its errors always end the fit"),
        ({"guard": True}, "no; it is a guard, so its errors always end the fit"),
    ],
)
def test_the_report_says_whether_it_is_an_observer_and_why_not(Mean, attributes, observer):
    report = check_callback(type("Mine", (Mean,), attributes))
    assert report.observer == observer
    assert str(report).endswith(f"\nObserver: {observer}")


def test_an_entry_that_a_partner_writes_too_is_not_its_own():
    class Entry(Callback):
        state_access = {"cbstate.entry": Write}

        def on_step_end(self, learner):
            learner.cbstate.entry = 1

        def resolve_conflict(self, other):
            return NoConflict() if isinstance(other, Entry) else NotDefined()

    class Another(Entry): ...

    report = check_callback(Entry, partners=[Another])
    assert report.observer == "no; it writes `cbstate.entry`, as Another does, so its errors always end the fit"


def test_whether_it_is_an_observer_is_not_said_of_declarations_that_are_not_valid():
    class Wrong(Callback):
        def on_step_end(self, lerner): ...

    with pytest.raises(CallbackCheckError) as raised:
        check_callback(Wrong)
    assert raised.value.report.observer == ""


def test_checking_draws_no_random_number(Mean):
    before = torch.get_rng_state(), random.getstate()
    check_callback(Mean, nbatches=2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_the_error_is_the_report_with_the_findings(Mean):
    class Idle(Mean):
        state_access = {**Mean.state_access, "params": Read}

    with pytest.raises(CallbackCheckError) as caught:
        check_callback(Idle)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Idle: 12 checks run, 0 skipped, 1 failed, 2 remarks"
    assert lines[9] == "  failed   access        It uses what it declares, and nothing else"
    assert lines[10:13] == [
        "      `params` is declared and not used.",
        "      Fix: remove it from state_access, or give the reason why a toy training does not use it:",
        '          unused_ok={"params": "why"}',
    ]


def test_a_check_that_is_left_out_is_counted_with_its_reason(skipped):
    class Clock(Callback):
        state_access = {"cbstate.at": Write}

        def on_step_end(self, learner):
            learner.cbstate.at = time.perf_counter()

    reason = "the time is another in each run"
    report = check_callback(Clock, skip={"state": reason, "runners": reason})
    assert (report.run, report.skipped, report.failed) == (9, 3, 0)
    assert skipped(report)["state"] == reason


def test_a_check_that_is_left_out_without_a_reason_is_an_error(Mean):
    with pytest.raises(
        ArgumentValueError,
        match=r"skip has 'state' without a reason\.\nFix: give the reason:\n    skip=\{\"state\": \"why\"\}",
    ):
        check_callback(Mean, skip={"state": " "})
    with pytest.raises(ArgumentTypeError, match=r"skip is \['state'\], and it maps each check to the reason\.\nFix: "):
        check_callback(Mean, skip=["state"])


def test_a_name_that_is_not_a_check_is_an_error(Mean):
    with pytest.raises(
        ArgumentValueError, match=r"skip has 'stat', which is not a check\.\nFix: name a check\. Did you mean `state`"
    ):
        check_callback(Mean, skip={"stat": "why"})


def test_the_contract_has_a_test_for_every_check(monkeypatch):
    names = []
    monkeypatch.setattr(CallbackContract, "check", lambda self, name: names.append(name))
    for name in vars(CallbackContract):
        if name.startswith("test_"):
            getattr(CallbackContract(), name)()
    assert names == list(CHECKS)


def test_a_subclass_inherits_tests_that_pass_fail_or_say_why_they_were_skipped(pytester):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")  # in this process torch would load twice
    result.assert_outcomes(passed=19, skipped=4, failed=1)
    result.stdout.fnmatch_lines(
        ["*`step.loss` was changed in place.*", "*Fix: change in Doubled.state_access:*", '*"step.loss": Write*']
    )
    result.stdout.fnmatch_lines_random(
        ["*Peak, init: It has no on_init.", "*Peak, state: the last peak does not matter"]
    )


def test_a_subclass_without_make_is_an_error_that_shows_it():
    class TestNothing(CallbackContract):
        pass

    with pytest.raises(
        NotImplementedError,
        match=r"TestNothing does not define which callback it tests\.\nFix: define it:\n    def make",
    ):
        TestNothing().test_watching_changes_nothing()


def test_a_name_that_is_not_a_check_cannot_be_skipped():
    class TestTypo(CallbackContract):
        skip = {"stat": "why"}

        def make(self): ...

    with pytest.raises(ValueError, match="skip has 'stat', which is not a check"):
        TestTypo().test_watching_changes_nothing()
