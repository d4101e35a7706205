"""`check_backend`: a backend that keeps its promises passes, and each that breaks one is caught, with a fix."""

import json
import math
import os
import random
import re
import sqlite3

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import (
    BackendClosedError,
    Graph,
    LogChangedError,
    LoggerBackend,
    Text,
    UnsupportedLoggable,
    Value,
)
from treadle_logging.testing import BackendCheckError, check_backend
from treadle_logging.testing.contract import CHECKS


class Lines(LoggerBackend):
    """Writes numbers and texts as lines of JSON, and keeps every promise."""

    supported = (Value, Text)

    def __init__(self, folder):
        self.path = folder / "log.jsonl"
        self.file = self.path.open("a")

    def log(self, loggable, name, i, group):
        if self.file.closed:
            raise BackendClosedError(f"{self.path} was closed.\nFix: make a new backend.")
        self.write(self.tag(name, group), i, loggable.number if isinstance(loggable, Value) else loggable.data)

    def write(self, tag, i, data):
        self.file.write(json.dumps([tag, i, data]) + "\n")

    def flush(self):
        if not self.file.closed:
            self.file.flush()

    def close(self):
        self.file.close()

    def position(self):
        self.flush()
        return {"bytes": self.path.stat().st_size, "start": self.path.read_text()}

    def rewind(self, position):
        self.flush()
        if not self.path.read_text().startswith(position["start"]):
            raise LogChangedError("This is another log.\nFix: resume with that of the run.")
        os.truncate(self.path, position["bytes"])


def read(folder):
    rows = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [row for row in rows if isinstance(row[2], float)]


def test_a_backend_that_keeps_its_promises_passes_every_check() -> None:
    report = check_backend(Lines, read=read)
    assert (report.callback, report.run, report.skipped, report.failed) == ("Lines", 11, 0, 0)
    assert min(result.count for result in report.results) > 0


def test_without_a_reader_it_sees_what_is_raised_and_says_what_it_left_out() -> None:
    assert left_out(check_backend(Lines)) == {"numbers": "Nobody said how to read the log; pass read=."}


def test_what_a_backend_does_not_do_is_left_out_with_the_reason() -> None:
    class Notes(LoggerBackend):
        supported = (Text,)

        def log(self, loggable, name, i, group):
            pass

    assert left_out(check_backend(lambda folder: Notes())) == {
        **dict.fromkeys(("numbers", "not_finite", "names", "threads"), "It does not take a Value."),
        "resume": "It has no `position`: a resumed run goes on behind what is there.",
    }


def left_out(report):
    return {result.name: result.detail for result in report.results if result.outcome == "skipped"}


BUGS = {}


def bug(check: str, message: str):
    """A backend that breaks one promise, the check that finds it, and what the check says."""

    def noted(cls):
        BUGS[cls.__name__] = (cls, check, message)
        return cls

    return noted


@bug("supported", "`supported` is (), and it is a tuple of kinds of loggable.")
class NoKinds(Lines):
    supported = ()


@bug("supported", "`supported` is [<class 'treadle_logging.loggable.Value'>], and it is a tuple")
class AListOfKinds(Lines):
    supported = [Value]


@bug("kinds", "`supported` has Text, and `log` refuses a plain one (Text of two lines): not today")
class RefusesTexts(Lines):
    def log(self, loggable, name, i, group):
        if isinstance(loggable, Text):
            raise UnsupportedLoggable("not today")
        super().log(loggable, name, i, group)


@bug("kinds", "Logging a loggable that it supports (Graph of a net with a dropout) fails: AttributeError: 'Graph'")
class NamesAKindThatItCannotWrite(Lines):
    supported = (Value, Text, Graph)


@bug("kinds", "Logging a loggable that it supports (an empty Text) fails: ValueError: empty")
class FailsWithEmptyTexts(Lines):
    def write(self, tag, i, data):
        if data == "":
            raise ValueError("empty")
        super().write(tag, i, data)


class All(Lines):
    supported = LoggerBackend.supported


@bug("refusals", "`log` took a loggable of a kind that it cannot know, and raised nothing")
class LosesWhatItDoesNotKnow(All):
    def log(self, loggable, name, i, group):
        if isinstance(loggable, Value | Text):
            super().log(loggable, name, i, group)


@bug("refusals", "A loggable of a kind that it has not heard of fails with AttributeError: 'Unknown'")
class FailsWithWhatItDoesNotKnow(All):
    pass


@bug("refusals", "UnsupportedLoggable was raised without a message.")
class RefusesWithoutAReason(All):
    def log(self, loggable, name, i, group):
        if not isinstance(loggable, Value | Text):
            raise UnsupportedLoggable
        super().log(loggable, name, i, group)


@bug("refusals", "Of two loggables of a kind that it does not support (Unknown), 0 were reported")
class ReportsNothing(Lines):
    def receive(self, loggable, name, i, group):
        if self.supports(loggable):
            super().receive(loggable, name, i, group)


@bug("unchanged", "Logging a Value(0.5) draws from torch's random numbers, so that a training with this log differs")
class DrawsFromTorch(Lines):
    def write(self, tag, i, data):
        super().write(tag, i, data)
        torch.rand(1)


@bug("unchanged", "Logging a Value(0.5) draws from Python's `random`")
class DrawsFromPython(Lines):
    def flush(self):
        super().flush()
        random.random()


@bug("unchanged", "Logging a Value of a tensor changes its data")
class ChangesTheData(Lines):
    def log(self, loggable, name, i, group):
        super().log(loggable, name, i, group)
        if isinstance(loggable.data, torch.Tensor):
            loggable.data.zero_()


@bug("numbers", "'Step/TrainingPhase/Metrics/Loss' is 1.0 at the iteration 0, and 0.5 was logged.")
class Rounds(Lines):
    def write(self, tag, i, data):
        super().write(tag, i, float(math.ceil(data)) if data == 0.5 else data)


@bug(
    "numbers", "The log has 'Step/TrainingPhase/Metrics/Loss' at the iterations [1, 2, 3, 4, 11, 1001], not at [0, 1, 2"
)
class CountsFromOne(Lines):
    def write(self, tag, i, data):
        super().write(tag, i + 1, data)


@bug("numbers", "'Step/TrainingPhase/Metrics/Loss' is not in the log, which has 'Loss'.")
class ForgetsTheGroups(Lines):
    def log(self, loggable, name, i, group):
        super().log(loggable, name, i, ())


@bug("not_finite", "Value(nan) is 0.0 in the log, which somebody will believe.")
class ReplacesNaN(Lines):
    def write(self, tag, i, data):
        super().write(tag, i, 0.0 if data != data else data)


@bug("not_finite", "Value(inf) is lost: it is not in the log, and nothing was reported.")
class LosesInfinities(Lines):
    def write(self, tag, i, data):
        if data not in (math.inf, -math.inf):
            super().write(tag, i, data)


@bug("not_finite", "Logging Value(nan) fails: ValueError: Out of range float values are not JSON compliant")
class FailsWithNaN(Lines):
    def write(self, tag, i, data):
        super().write(tag, i, json.loads(json.dumps(data, allow_nan=False)))


@bug("names", "11 different names were taken, and the log has 10 tags: several of them became 'Step/a-b'.")
class MakesTwoNamesOne(Lines):
    def write(self, tag, i, data):
        super().write(re.sub(r"[ _]", "-", tag), i, data)


@bug("names", "11 different names were taken, and the log has 10 tags: 'a%b' is not there.")
class LosesAName(Lines):
    def write(self, tag, i, data):
        if "%" not in tag:
            super().write(tag, i, data)


@bug("names", "The name 'a%b' fails: TypeError: not enough arguments for format string")
class FailsWithAName(Lines):
    def write(self, tag, i, data):
        super().write(tag % () if tag.endswith("b") else tag, i, data)


@bug("names", "is refused by an error that does not have it: This is too long.")
class RefusesWithoutTheName(Lines):
    def write(self, tag, i, data):
        if len(tag) > 100:
            raise UnsupportedLoggable("This is too long.")
        super().write(tag, i, data)


@bug("threads", "Logging from another thread fails: ProgrammingError: SQLite objects created in a thread can only be")
class StaysInItsThread(Lines):
    def __init__(self, folder):
        super().__init__(folder)
        self.connection = sqlite3.connect(":memory:")

    def write(self, tag, i, data):
        self.connection.execute("select 1")
        super().write(tag, i, data)


@bug("flush", "The log is wrong after `flush`, while the backend is open. 'Step/Loss' is not in the log")
class DoesNotFlush(Lines):
    def flush(self):
        pass


@bug("flush", "`flush` before anything was logged fails: OSError: nothing is there")
class FlushesOnlyWhatIsThere(Lines):
    def flush(self):
        super().flush()
        if not self.path.read_text():
            raise OSError("nothing is there")


@bug("close", "`close` when it is closed fails: OSError: closed already")
class ClosesOnce(Lines):
    def close(self):
        if self.file.closed:
            raise OSError("closed already")
        super().close()


@bug("close", "Logging after `close` fails with ValueError: I/O operation on closed file.")
class RaisesTheErrorOfTheFile(Lines):
    def log(self, loggable, name, i, group):
        self.write(self.tag(name, group), i, loggable.data if isinstance(loggable, Text) else loggable.number)


@bug("close", "The log is wrong when it was logged after `close`, which raised nothing. The log has 'Step/Loss' at the")
class LosesWhatComesAfterClose(Lines):
    def write(self, tag, i, data):
        if not self.file.closed:
            super().write(tag, i, data)

    def log(self, loggable, name, i, group):
        if not self.file.closed:
            super().log(loggable, name, i, group)


@bug("resume", "It has `position` and no `rewind`, and a resumed run needs both.")
class HasNoRewind(Lines):
    rewind = LoggerBackend.rewind


@bug("resume", "`position` returned None.")
class HasAPositionOfNone(Lines):
    def position(self):
        return None


@bug("resume", "Path('/")
class HasAPositionThatCannotBeSaved(Lines):
    def position(self):
        return {"path": self.path}


@bug("resume", "The log is wrong after `position`. 'Step/Loss' is not in the log")
class HasAPositionOfWhatIsNotWritten(Lines):
    def position(self):
        return {"bytes": self.path.stat().st_size, "start": ""}


@bug(
    "resume",
    "The log is wrong when a new backend has gone on from `position`. The log has 'Step/Loss' at the iterations",
)
class CutsNothing(Lines):
    def rewind(self, position):
        pass


@bug("resume", "`rewind` cuts a log that never held what the position says.")
class CutsAnyLog(Lines):
    def rewind(self, position):
        self.flush()
        self.path.write_text(position["start"])


@bug("resume", "`rewind` of another log fails with ZeroDivisionError")
class FailsWithAnotherLog(Lines):
    def rewind(self, position):
        try:
            super().rewind(position)
        except LogChangedError:
            raise ZeroDivisionError from None


@bug("resume", "`rewind` of a log to a position that it had fails: KeyError: 'byte'")
class MisspellsItsPosition(Lines):
    def rewind(self, position):
        os.truncate(self.path, position["byte"])


@pytest.mark.parametrize("name", BUGS)
def test_a_broken_promise_is_named_with_its_fix(name: str) -> None:
    backend, check, message = BUGS[name]
    with pytest.raises(BackendCheckError) as raised:
        check_backend(backend, read=read, skip=dict.fromkeys(CHECKS.keys() - {check}, "only one promise is broken"))
    (failed,) = (result for result in raised.value.report.results if result.outcome == "failed")
    assert message in failed.detail
    assert "\nFix: " in failed.detail


INPUTS = {
    "a backend": (lambda: check_backend(Lines, 3), TypeError, "takes 1 positional argument"),
    "no function": (
        lambda: check_backend(3),
        ArgumentTypeError,
        r"make .*3.*\nFix: .*\n    check_backend\(lambda folder",
    ),
    "no reader": (lambda: check_backend(Lines, read=3), ArgumentTypeError, r"read .*3"),
    "no backend": (lambda: check_backend(lambda folder: folder), ArgumentTypeError, "What make makes must be a"),
    "another check": (
        lambda: check_backend(Lines, skip={"name": "why"}),
        ArgumentValueError,
        r"skip has 'name', which is not a check\.\nFix: name a check\. Did you mean `names`\?",
    ),
    "no reason": (
        lambda: check_backend(Lines, skip={"names": " "}),
        ArgumentValueError,
        r"skip has 'names' without a reason\.\nFix: give the reason",
    ),
    "a list of checks": (lambda: check_backend(Lines, skip=["names"]), ArgumentTypeError, "skip must be a"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_bad_input_is_refused_by_name(case: str) -> None:
    use, error, message = INPUTS[case]
    with pytest.raises(error, match=message):
        use()


def test_a_backend_that_is_made_once_is_refused_where_a_second_process_would_make_its_own() -> None:
    made = {}

    def make(folder):
        if folder not in made:
            made[folder] = Lines(folder)
        return made[folder]

    with pytest.raises(BackendCheckError, match=r"make returned the same Lines again, and each call has to make a new"):
        check_backend(make, read=read)


def test_rows_of_another_form_are_named() -> None:
    with pytest.raises(BackendCheckError, match=r"read gave \('Loss', 0\.5\), which is not \(tag, iteration, number\)"):
        check_backend(Lines, read=lambda folder: [("Loss", 0.5)])


def test_checks_that_are_all_left_out_are_no_success() -> None:
    with pytest.raises(BackendCheckError, match="0 checks run, 11 skipped"):
        check_backend(Lines, skip=dict.fromkeys(CHECKS, "not today"))
