"""What cannot be right is refused where it is passed, by an error that names it and the fix."""

import io
import re

import pytest
from treadle import toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_metrics import Metrics, Recorder
from treadle_progress import MetricsPrinter, ProgressPrinter, StepPrinter

WRONG_TYPE, WRONG_VALUE = ArgumentTypeError, ArgumentValueError


def closed():
    file = io.StringIO()
    file.close()
    return file


INPUTS = {
    "the path of a bar": (lambda: ProgressPrinter(file="x"), WRONG_TYPE, "file must be a file to write to, got 'x'"),
    "a bar for bytes": (
        lambda: ProgressPrinter(file=io.BytesIO()),
        WRONG_TYPE,
        "file must be a file that takes text, not",
    ),
    "a bar on a closed file": (lambda: ProgressPrinter(file=closed()), WRONG_VALUE, "file must be an open file"),
    "an interval of a text": (lambda: ProgressPrinter(mininterval="1"), WRONG_TYPE, "mininterval must be a number"),
    "a negative interval": (lambda: ProgressPrinter(mininterval=-1), WRONG_VALUE, "mininterval must be a number"),
    "show of a text": (
        lambda: ProgressPrinter(show="no"),
        WRONG_VALUE,
        "ProgressPrinter(show) has an invalid value: 'no'",
    ),
    "the name of a loss": (
        lambda: ProgressPrinter(loss="val"),
        WRONG_VALUE,
        "ProgressPrinter(loss) has an invalid value",
    ),
    "leave of a number": (
        lambda: ProgressPrinter(leave=3),
        WRONG_VALUE,
        "ProgressPrinter(leave) has an invalid value: 3",
    ),
    "the path of a table": (lambda: MetricsPrinter(file="x"), WRONG_TYPE, "file must be a file to write to, got 'x'"),
    "a table for bytes": (
        lambda: MetricsPrinter(file=io.BytesIO()),
        WRONG_TYPE,
        "file must be a file that takes text, not",
    ),
    "a table on a closed file": (lambda: MetricsPrinter(file=closed()), WRONG_VALUE, "file must be an open file"),
    "no steps": (lambda: StepPrinter(0), WRONG_VALUE, "StepPrinter(freq) must be a whole number of at least 1, got 0"),
    "half a step": (lambda: StepPrinter(0.5), WRONG_TYPE, "StepPrinter(freq) must be a whole number of at least 1"),
    "the path of a log": (lambda: StepPrinter(file="x"), WRONG_TYPE, "file must be a file to write to, got 'x'"),
    "a closed log": (lambda: StepPrinter(file=closed()), WRONG_VALUE, "file must be an open file"),
    "bold that is a text": (
        lambda: MetricsPrinter(rich="bold"),
        WRONG_VALUE,
        "MetricsPrinter(rich) has an invalid value",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_it_is_named_with_the_fix(case) -> None:
    use, error, what = INPUTS[case]
    with pytest.raises(error, match=rf"(?s){re.escape(what)}.*\nFix: "):
        use()


def test_a_file_that_can_only_be_written_to_will_do() -> None:
    class Written:
        text = ""

        def write(self, text):
            self.text += text

    file = Written()
    printers = [ProgressPrinter(file=file), MetricsPrinter(file=file)]
    toy_learner(Recorder(), Metrics(), *printers, nbatches=2).fit(1)
    assert "epoch  phase                  Loss\n" in file.text
