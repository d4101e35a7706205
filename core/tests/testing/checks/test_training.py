import pytest
from treadle import Callback, Event, Read, ValidationPhase
from treadle.testing import CallbackCheckError, check_callback


class Drawn(Event):
    """An event that no training of ours dispatches."""


@pytest.fixture(name="Custom")
def custom_class(Mean):
    """A callback with a handler that no training of ours calls."""
    return type("Custom", (Mean,), {"on_drawn": lambda self, learner: None})


def test_a_handler_that_a_training_never_calls_is_found(Custom, failed):
    assert failed(Custom)["training"] == (
        "2 epochs of training and validation did not call on_drawn.\n"
        "Fix: remove what is never called, or give the reason:\n"
        '    unused_ok={"on_drawn": "why"}'
    )


def test_a_handler_that_is_not_called_can_be_explained(Custom):
    assert check_callback(Custom, unused_ok={"on_drawn": "for replay buffers"}).failed == 0


def test_an_error_in_a_handler_is_reported_with_its_place_and_what_needs_the_training_is_skipped():
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
    assert results["audit"].detail == "The toy training ended with an error, see `training`."


def test_an_access_that_is_not_declared_is_reported_with_the_line_to_add(failed):
    class Reads(Callback):
        def on_step_end(self, learner):
            return learner.step.loss

    assert 'Fix: add to Reads.state_access:\n    "step.loss": Read' in failed(Reads)["training"]
