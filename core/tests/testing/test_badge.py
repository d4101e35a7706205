"""The badge of a report."""

import re
import xml.etree.ElementTree as ET

import pytest
from treadle import Callback, EvaluationPhase, Read
from treadle.errors import ArgumentTypeError
from treadle.testing import CallbackCheckError, CheckResult, Report, check_callback
from treadle.testing.contract import CHECKS


def report(*outcomes: str, covered: tuple[str, ...] = ()) -> Report:
    return Report(
        "A & B", [CheckResult(str(i), "It works", outcome, covered=covered) for i, outcome in enumerate(outcomes)]
    )


@pytest.mark.parametrize(
    ("of", "text", "colour"),
    [
        (report("passed", "skipped", "passed"), "2 of 3 checks passed", "#2e7d32"),
        (report("passed", covered=("one model", "two models")), "1 of 1 checks passed, 2 kinds of learner", "#2e7d32"),
        (report("passed", "failed"), "1 of 2 checks failed", "#b71c1c"),
        (report("skipped"), "nothing checked", "#b71c1c"),
    ],
)
def test_it_shows_the_counts_and_is_red_where_something_failed_or_nothing_ran(of, text, colour) -> None:
    picture = ET.fromstring(of.badge())
    assert picture.attrib["aria-label"] == f"treadle contract: {text}"
    assert {part.attrib["fill"] for part in picture.iter() if part.tag.endswith("rect")} == {"#555", colour}


def test_it_is_written_to_a_file_and_the_line_of_markdown_shows_it(tmp_path) -> None:
    line = report("passed").write_badge(tmp_path / "badge.svg")
    assert line == f"![A & B, treadle contract: 1 of 1 checks passed]({tmp_path.as_posix()}/badge.svg)"
    assert (tmp_path / "badge.svg").read_text() == report("passed").badge()


def test_the_path_is_checked() -> None:
    with pytest.raises(ArgumentTypeError, match=re.escape('report.write_badge("peak.svg")')):
        report("passed").write_badge(3)


def test_a_contract_of_which_everything_is_left_out_fails() -> None:
    class Idle(Callback):
        def on_step_end(self): ...

    with pytest.raises(
        CallbackCheckError, match=r"0 checks run, 12 skipped.*(?s:.*)\nNothing was checked\.\nFix: leave out less"
    ):
        check_callback(Idle, skip=dict.fromkeys(CHECKS, "not today"))


def test_a_check_that_found_nothing_to_look_at_fails() -> None:
    class InEvaluation(Callback):
        def on_step_end(self, phase: EvaluationPhase): ...

    with pytest.raises(CallbackCheckError, match="It found no handler calls to check, so nothing is known") as raised:
        check_callback(InEvaluation, unused_ok={"on_step_end": "only in evaluation"})
    failed = [result.name for result in raised.value.report.results if result.outcome == "failed"]
    assert failed == ["training", "access", "audit"]


def test_the_kinds_of_learner_are_those_that_it_works_with() -> None:
    class OneModel(Callback):
        def on_step_end(self, learner):
            if "decoder" in learner.params:
                raise ValueError("one model, please")

        state_access = {"params": Read}

    assert check_callback(OneModel).covered == (
        "one model",
        "with validation",
        "without validation",
        "accumulation",
        "a phase of its own",
    )
