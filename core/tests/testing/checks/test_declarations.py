import itertools

import pytest
from treadle import Callback, Read, TrainingPhase
from treadle.testing import CallbackCheckError, check_callback


def test_an_invalid_declaration_is_an_error_at_once(Mean):
    class Typo(Mean):
        state_access = {"stpe.loss": Read}

    with pytest.raises(ValueError, match="a learner has no `stpe`"):
        check_callback(Typo)


def test_state_without_a_writer_is_found_and_the_checks_that_need_a_learner_are_skipped():
    class Reader(Callback):
        state_access = {"cbstate.average": Read}

        def on_step_end(self, learner): ...

    with pytest.raises(CallbackCheckError) as caught:
        check_callback(Reader)
    results = {result.name: result for result in caught.value.report.results}
    assert "Reader reads `cbstate.average`, and no callback writes it." in results["declarations"].detail
    assert [result.outcome for result in results.values()] == ["failed", "passed", *["skipped"] * 10]
    assert results["audit"].detail == "No learner can be built with it, see `declarations`."


def test_a_partner_writes_what_the_callback_reads(Mean):
    class Reader(Callback):
        state_access = {"cbstate.mean": Read}

        def on_epoch_end(self, learner, phase: TrainingPhase):
            assert learner.cbstate.mean > 0

    assert check_callback(Reader, partners=[Mean]).failed == 0


def test_one_callback_for_all_trainings_is_found(Mean, failed):
    mean = Mean()
    assert failed(lambda: mean)["declarations"] == (
        "The function returned the same callback twice.\nFix: make a new callback at each call."
    )


def test_declarations_that_differ_from_one_to_the_next_are_found(Mean, failed):
    numbers = itertools.count()

    class Numbered(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.name = f"Numbered {next(numbers)}"

    assert failed(Numbered)["declarations"] == (
        "Two callbacks that were made alike differ in their name or state_access.\n"
        "Fix: let both depend on nothing but the arguments."
    )
