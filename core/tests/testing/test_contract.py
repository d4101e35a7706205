import pytest
from treadle.testing import CallbackContract
from treadle.testing.checks import CHECKS

pytest_plugins = ["pytester"]

TESTS = """
from treadle import Callback, Read, TrainingPhase
from treadle.testing import CallbackContract

class Peak(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: TrainingPhase):
        self.peak = learner.step.loss

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


def test_the_contract_has_a_test_for_every_check(monkeypatch):
    asked = []
    monkeypatch.setattr(CallbackContract, "check", lambda self, name: asked.append(name))
    for name in vars(CallbackContract):
        if name.startswith("test_"):
            getattr(CallbackContract(), name)()
    assert asked == list(CHECKS)


def test_a_subclass_inherits_tests_that_pass_fail_or_say_why_they_were_skipped(pytester):
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider")  # in this process torch would load twice
    result.assert_outcomes(passed=13, skipped=4, failed=1)
    result.stdout.fnmatch_lines(
        ['*`step.loss` was changed in place. Change in Doubled.state_access: "step.loss": Write*']
    )
    result.stdout.fnmatch_lines_random(
        ["*Peak, init: it has no on_init.", "*Peak, state: the last peak does not matter"]
    )


def test_a_subclass_that_makes_nothing_says_what_to_define():
    class TestNothing(CallbackContract):
        pass

    with pytest.raises(NotImplementedError, match=r"TestNothing does not say which callback it tests. Define it"):
        TestNothing().test_watching_changes_nothing()


def test_a_check_that_there_is_not_cannot_be_skipped():
    class TestTypo(CallbackContract):
        skip = {"stat": "why"}

        def make(self): ...

    with pytest.raises(ValueError, match="skip leaves out 'stat', and there is no such check"):
        TestTypo().test_watching_changes_nothing()
