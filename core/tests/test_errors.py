import copy
import pickle

import pytest
import treadle
from treadle import (
    AccessError,
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    DataError,
    FitException,
    LossError,
    PluginError,
    ProtectedException,
    TreadleError,
)
from treadle.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchError,
    NotResumableError,
    NotSaveableError,
    Problem,
    did_you_mean,
)


@pytest.mark.parametrize("cancel", [CancelStepException, CancelEpochException, CancelFittingException])
def test_a_cancel_is_a_fit_exception_and_not_an_error(cancel) -> None:
    assert issubclass(cancel, FitException)
    assert not issubclass(cancel, TreadleError)
    assert cancel("why").callback is None
    assert str(cancel("why")) == "why"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ProtectedException, Exception),
        (CallbackConflictError, Exception),
        (CallbackError, TypeError),
        (AccessError, ValueError),
        (ArgumentTypeError, TypeError),
        (ArgumentValueError, ValueError),
        (DataError, ValueError),
        (LossError, ValueError),
        (PluginError, ImportError),
    ],
)
def test_an_error_is_treadles_and_of_pythons_kind(error, kind) -> None:
    assert issubclass(error, TreadleError)
    assert issubclass(error, kind)
    assert getattr(treadle, error.__name__) is error


@pytest.mark.parametrize("error", [DamagedCheckpointError, MismatchError, NotResumableError, NotSaveableError])
def test_an_error_of_the_state_of_a_run_is_a_checkpoint_error(error) -> None:
    assert issubclass(error, CheckpointError)
    assert issubclass(error, ValueError)
    assert issubclass(error, TypeError) == (error is NotSaveableError)


def test_a_problem_is_what_and_fix() -> None:
    assert str(Problem((), "A and B clash.", "remove one.")) == "A and B clash.\nFix: remove one."


def test_a_conflict_lists_every_problem() -> None:
    first, second = Problem((Callback(),), "One.", "do this:\n    it()"), Problem((), "Two.", "do that.")
    error = CallbackConflictError([first, second])
    assert error.problems == (first, second)
    assert str(error) == (
        "The callbacks have 2 problems that must be solved before training:\n"
        "1. One.\n   Fix: do this:\n       it()\n2. Two.\n   Fix: do that."
    )


def test_one_problem_is_counted_as_one() -> None:
    assert str(CallbackConflictError([Problem((), "One.", "do this.")])).startswith("The callbacks have 1 problem that")


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("on_step_ends", ["on_step_end", "on_fit_end"], "Did you mean `on_step_end`?"),
        ("zzz", ["b", "a"], "There is: a, b."),
        ("zzz", [], "There is none."),
    ],
)
def test_a_slip_is_guessed_or_what_there_is_is_listed(name, known, sentence) -> None:
    assert did_you_mean(name, known) == sentence


def test_a_conflict_can_be_copied_and_sent_to_another_process() -> None:
    error = CallbackConflictError([Problem((), "One.", "do this.")])
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (other.problems, str(other)) == (error.problems, str(error))
