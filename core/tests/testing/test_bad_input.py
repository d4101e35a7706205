"""What the public functions of `treadle.testing` are passed by mistake: a typed error that names it and the fix."""

import pytest
import treadle_pytest
from treadle import Callback, Learner, Phase
from treadle.errors import TreadleError
from treadle.testing import (
    CallbackContract,
    CheckResult,
    Report,
    audit,
    check_callback,
    noisy_learner,
    toy_learner,
)


class Quiet(Callback):
    """Does nothing."""

    def on_step_end(self): ...


class Needs(Quiet):
    """Cannot be made without an argument."""

    def __init__(self, path):
        self.path = path


class Contract(CallbackContract):
    """A contract, as an author writes it."""

    def make(self):
        return Quiet()


def contract(**attributes):
    return type("TestQuiet", (Contract,), attributes)()


def audited(learner):
    with audit(learner):
        pass


BAD = {
    "a number in place of a callback": (lambda: toy_learner(3), "3 is not a Callback"),
    "None in place of a callback": (lambda: noisy_learner(None), "None is not a Callback"),
    "a class in place of a callback": (lambda: toy_learner(Quiet), "Quiet is a class, not a Callback"),
    "a list of callbacks": (lambda: toy_learner([Quiet()]), "is not a Callback"),
    "a name that is not installed": (lambda: toy_learner("quiet"), "quiet"),
    "no batches": (lambda: toy_learner(nbatches=0), "nbatches must be a whole number of at least 1, got 0"),
    "batches below none": (lambda: noisy_learner(nbatches=-1), "nbatches must be a whole number of at least 1, got -1"),
    "half a batch": (lambda: toy_learner(nbatches=1.5), r"nbatches must be a whole number of at least 1, got 1\.5"),
    "a text as a number of batches": (lambda: toy_learner(nbatches="16"), "nbatches must be a whole number"),
    "True as a number of batches": (lambda: toy_learner(nbatches=True), "nbatches must be a whole number"),
    "empty batches": (lambda: toy_learner(batchsize=0), "batchsize must be a whole number of at least 1, got 0"),
    "a batch of one row for a batch norm": (
        lambda: noisy_learner(batchsize=1),
        "batchsize must be .* at least 2, got 1",
    ),
    "no batch size": (lambda: toy_learner(batchsize=None), "batchsize must be a whole number"),
    "a text as the weight": (lambda: toy_learner(coeff="3"), "coeff must be a finite number, got '3'"),
    "an endless weight": (lambda: toy_learner(coeff=float("inf")), "coeff must be a finite number, got inf"),
    "a weight that is none": (lambda: noisy_learner(coeff=float("nan")), "coeff must be a finite number, got nan"),
    "an optimizer that is none": (lambda: toy_learner(optimizer=3), "The optimizer must be an instance or a function"),
    "data that are none": (lambda: toy_learner(data=3), "data must be"),
    "a callback in place of its class": (lambda: check_callback(Quiet()), "was given <Quiet>, and it needs a function"),
    "nothing to check": (lambda: check_callback(None), "was given None, and it needs a function"),
    "a name to check": (lambda: check_callback("recorder"), "was given 'recorder', and it needs a function"),
    "another class": (lambda: check_callback(dict), "was given the class dict, which is not a subclass of Callback"),
    "a phase": (lambda: check_callback(Phase), "was given the class Phase, which is not a subclass of Callback"),
    "a class that needs arguments": (
        lambda: check_callback(Needs),
        r"cannot be made by Needs without arguments: missing a required argument: 'path'\.\nFix: .*\n    lambda: Needs",
    ),
    "a function that needs arguments": (lambda: check_callback(lambda path: Needs(path)), "without arguments"),
    "a function that makes something else": (lambda: check_callback(lambda: 3), "returned 3, which is not a Callback"),
    "a function that makes a class": (lambda: check_callback(lambda: Quiet), "which is not a Callback"),
    "a partner alone": (
        lambda: check_callback(Quiet, partners=Quiet),
        r"partners is Quiet, not a list\.\nFix: .*\n    partners=\[Quiet",
    ),
    "a partner's name alone": (
        lambda: check_callback(Quiet, partners="recorder"),
        "partners is 'recorder', not a list",
    ),
    "a number of partners": (lambda: check_callback(Quiet, partners=3), "partners is 3, not a list"),
    "a number as a partner": (lambda: check_callback(Quiet, partners=[3]), r"partners\[0\] must be a function, got 3"),
    "a callback as a partner": (lambda: check_callback(Quiet, partners=[Quiet()]), r"partners\[0\] must be a function"),
    "a partner that needs arguments": (
        lambda: contract(partners=[Needs]).check("declarations"),
        "partners=.lambda: Needs",
    ),
    "a partner that is not a Callback": (
        lambda: contract(partners=[dict]).check("declarations"),
        r"What partners\[0\] makes must be an instance of Callback, got \{\}",
    ),
    "a path that is not declared": (lambda: check_callback(Quiet, unused_ok={"model": "why"}), "unused_ok has 'model'"),
    "paths without reasons": (
        lambda: check_callback(Quiet, unused_ok=["model"]),
        r"unused_ok is \['model'\], and it maps",
    ),
    "an empty reason": (lambda: check_callback(Quiet, skip={"state": ""}), "skip has 'state' without a reason"),
    "a number as a reason": (lambda: check_callback(Quiet, skip={"state": 3}), "skip has 'state' without a reason"),
    "checks without reasons": (lambda: check_callback(Quiet, skip="state"), "skip is 'state', and it maps each check"),
    "a check that is none": (lambda: check_callback(Quiet, skip={"stat": "why"}), "Did you mean `state`"),
    "a learner that is no function": (lambda: check_callback(Quiet, learner=3), "learner must be a function, got 3"),
    "a learner in place of a function": (
        lambda: check_callback(Quiet, learner=toy_learner()),
        "learner must be a function",
    ),
    "a check by a wrong name": (lambda: contract().check("stat"), "The check has an invalid value: 'stat'"),
    "no check": (lambda: contract().check(None), "The check has an invalid value: None"),
    "an audit of nothing": (lambda: audited(None), "learner must be an instance of Learner, got None"),
    "an audit of a class": (lambda: audited(Learner), "learner must be an instance of Learner, got the class Learner"),
    "an audit of a model": (lambda: audited(toy_learner().model), "learner must be an instance of Learner, got Linear"),
    "an outcome that is none": (lambda: CheckResult("init", "", "ok"), "outcome has an invalid value: 'ok'"),
    "a report of nothing": (lambda: Report("Quiet", None), "results must be a list, got None"),
    "a report of texts": (lambda: Report("Quiet", ["passed"]), r"results\[0\] must be an instance of CheckResult"),
    "a plugin that is not installed": (
        lambda: treadle_pytest.isolate(pytest.MonkeyPatch(), "recordre"),
        "The plugin 'recordre' is not installed",
    ),
    "a number as a plugin": (lambda: treadle_pytest.isolate(pytest.MonkeyPatch(), 3), "The plugin 3 is not installed"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_argument_is_a_typed_error_that_names_it_and_the_fix(call, message):
    with pytest.raises(TreadleError, match=message) as caught:
        call()
    assert "Fix: " in str(caught.value)


@pytest.mark.parametrize("learner", [lambda *callbacks, **settings: 3, lambda *callbacks, **settings: None])
def test_a_learner_function_that_makes_something_else_is_reported_by_every_check_that_trains(learner):
    with pytest.raises(AssertionError, match="What learner makes must be an instance of Learner, got"):
        check_callback(Quiet, learner=learner)


def test_batches_that_are_none_are_reported_as_the_checks_setting():
    with pytest.raises(AssertionError, match="nbatches must be a whole number of at least 1, got 0"):
        check_callback(Quiet, nbatches=0)
