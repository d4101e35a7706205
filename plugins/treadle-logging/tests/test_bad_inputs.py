"""What cannot be right is refused where it is passed, by an error that names it and the fix."""

import io
import math
import re

import pytest
import torch
from torch import nn
from treadle import TrainingPhase, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import (
    Audio,
    BackendClosedError,
    CSVBackend,
    File,
    Graph,
    Histogram,
    Image,
    LogExistsError,
    LoggerBackend,
    LogHistograms,
    LogHyperParams,
    LogMetrics,
    LogTraces,
    LogVisualization,
    Text,
    UnreadableFileError,
    Value,
    log_to,
    to_image,
)
from treadle_metrics import Metrics, Recorder


class Lines(LoggerBackend):
    def log(self, loggable, name, i, group):
        pass


BACKEND = Lines()
WRONG_TYPE, WRONG_VALUE = ArgumentTypeError, ArgumentValueError

INPUTS = {
    # the callbacks
    "no backend": (lambda: LogMetrics(), WRONG_VALUE, "LogMetrics has no backend"),
    "a path for a backend": (lambda: LogMetrics("x.csv"), WRONG_TYPE, "LogMetrics(backends)[0] must be an instance"),
    "None for a backend": (lambda: LogHyperParams(None), WRONG_TYPE, "LogHyperParams(backends)[0] must be an instance"),
    "the class of a backend": (lambda: LogMetrics(Lines), WRONG_TYPE, "got the class Lines"),
    "a list of backends": (lambda: LogMetrics([BACKEND]), WRONG_TYPE, "LogMetrics(backends)[0] must be an instance"),
    "a backend twice": (lambda: LogMetrics(BACKEND, BACKEND), WRONG_VALUE, "LogMetrics got Lines twice"),
    "strict that is a text": (
        lambda: LogMetrics(BACKEND, strict="no"),
        WRONG_VALUE,
        "LogMetrics(strict) has an invalid",
    ),
    "block of zero": (lambda: LogMetrics(BACKEND, block=0), WRONG_VALUE, "LogMetrics(block) must be a whole number"),
    "block that is a fraction": (lambda: LogTraces(BACKEND, block=1.5), WRONG_TYPE, "LogTraces(block) must be a whole"),
    "negative seconds": (lambda: LogMetrics(BACKEND, seconds=-1), WRONG_VALUE, "LogMetrics(seconds) must be a number"),
    "seconds that are NaN": (lambda: LogMetrics(BACKEND, seconds=math.nan), WRONG_VALUE, "LogMetrics(seconds) must be"),
    "freq of zero": (lambda: LogHistograms(BACKEND, freq=0), WRONG_VALUE, "LogHistograms(freq) must be a whole number"),
    "freq that is True": (lambda: LogHistograms(BACKEND, freq=True), WRONG_TYPE, "LogHistograms(freq) must be a whole"),
    "gradients that is a name": (
        lambda: LogHistograms(BACKEND, gradients="0.weight"),
        WRONG_VALUE,
        "LogHistograms(gradients) has an invalid value: '0.weight'",
    ),
    "activations that is a number": (
        lambda: LogHistograms(BACKEND, activations=3),
        WRONG_VALUE,
        "LogHistograms(activations) has an invalid value: 3",
    ),
    "a function that is none": (
        lambda: LogVisualization(3, BACKEND),
        WRONG_TYPE,
        "LogVisualization(fn) must be a func",
    ),
    "a backend for the function": (
        lambda: LogVisualization(BACKEND),
        WRONG_TYPE,
        "LogVisualization(fn) must be a func",
    ),
    "a visualization without backend": (lambda: LogVisualization(len), WRONG_VALUE, "LogVisualization has no backend"),
    "a name that is none": (lambda: LogVisualization(len, BACKEND, name=3), WRONG_TYPE, "LogVisualization(name) must"),
    "a name that is empty": (lambda: LogVisualization(len, BACKEND, name=""), WRONG_VALUE, "LogVisualization(name) is"),
    "a phase for its type": (
        lambda: LogVisualization(len, BACKEND, phase=TrainingPhase()),
        WRONG_TYPE,
        "LogVisualization(phase) must be Phase or a subclass of it",
    ),
    "a visualization of nothing": (
        lambda: toy_learner(Recorder(), LogVisualization(lambda step: None, BACKEND)).fit(1),
        WRONG_TYPE,
        "returned None to LogVisualization",
    ),
    "a visualization of a text": (
        lambda: toy_learner(Recorder(), LogVisualization(lambda step: "x.png", BACKEND)).fit(1),
        WRONG_TYPE,
        "Image(data) must be a tensor or array of real numbers, got str 'x.png'",
    ),
    # log_to
    "a number for a loggable": (
        lambda: log_to(BACKEND, 0.5, "a", 1),
        WRONG_TYPE,
        "log_to(loggable) must be an instance",
    ),
    "a path to log to": (lambda: log_to("x.csv", Value(1), "a", 1), WRONG_TYPE, "log_to(backends)[0] must be"),
    "nothing to log to": (lambda: log_to([], Value(1), "a", 1), WRONG_VALUE, "log_to has no backend"),
    "an iteration that is a fraction": (lambda: log_to(BACKEND, Value(1), "a", 1.5), WRONG_TYPE, "log_to(i) must be"),
    "an iteration that is None": (
        lambda: log_to(BACKEND, Value(1), "a", None),
        WRONG_TYPE,
        "log_to(i) must be a whole",
    ),
    "an iteration of 100 bits": (
        lambda: log_to(BACKEND, Value(1), "a", 2**100),
        WRONG_VALUE,
        "log_to(i) has an invalid",
    ),
    "a number for a name": (lambda: log_to(BACKEND, Value(1), 3, 1), WRONG_TYPE, "log_to(name) must be an instance of"),
    "an empty name": (lambda: log_to(BACKEND, Value(1), "", 1), WRONG_VALUE, "log_to got an empty name"),
    "an empty group": (
        lambda: log_to(BACKEND, Value(1), "a", 1, ["Step", ""]),
        WRONG_VALUE,
        "log_to got an empty name",
    ),
    "a group that is None": (
        lambda: log_to(BACKEND, Value(1), "a", 1, None),
        WRONG_TYPE,
        "log_to(group) must be a list",
    ),
    "a group of numbers": (lambda: log_to(BACKEND, Value(1), "a", 1, [3]), WRONG_TYPE, "log_to(group)[0] must be"),
    "a name of half a pair": (
        lambda: log_to(BACKEND, Value(1), "\ud800", 1),
        WRONG_VALUE,
        "log_to(name) has an invalid",
    ),
    # the loggables
    "no number": (lambda: Value(None), WRONG_TYPE, "Value(data) must be one real number, got NoneType"),
    "a number in a text": (lambda: Value("3"), WRONG_TYPE, "Value(data) must be one real number, got str '3'"),
    "a complex number": (lambda: Value(1j), WRONG_TYPE, "Value(data) must be one real number"),
    "two numbers": (
        lambda: Value(torch.ones(2)),
        WRONG_TYPE,
        "Value(data) must be one real number, got Tensor of shape",
    ),
    "a number that no float holds": (
        lambda: Value(10**400),
        WRONG_TYPE,
        "Value(data) must be one real number, got int",
    ),
    "a text of bytes": (lambda: Text(b"x"), WRONG_TYPE, "Text(data) must be an instance of str"),
    "a text with half a pair": (lambda: Text("a\ud800"), WRONG_VALUE, "a character that no file can hold, at 1"),
    "a histogram of nothing": (lambda: Histogram([]), WRONG_VALUE, "Histogram(data) has no numbers"),
    "a histogram of rows of several lengths": (lambda: Histogram([[1], [1, 2]]), WRONG_TYPE, "Histogram(data) must be"),
    "a histogram of a mapping": (lambda: Histogram({"a": 1}), WRONG_TYPE, "Histogram(data) must be a tensor or array"),
    "a picture without channels": (lambda: Image(torch.ones(4, 4)), WRONG_VALUE, "Image(data) must have the shape"),
    "a picture with channels last": (
        lambda: Image(torch.ones(8, 8, 3)),
        WRONG_VALUE,
        "Image(data) must have the shape",
    ),
    "a batch of pictures": (lambda: Image(torch.ones(2, 3, 4, 4)), WRONG_VALUE, "Image(data) must have the shape"),
    "a picture of 0 to 255": (
        lambda: Image(torch.full((1, 2, 2), 255.0)),
        WRONG_VALUE,
        "must be floats in [0, 1], and",
    ),
    "a picture with NaN": (lambda: Image(torch.full((1, 2, 2), math.nan)), WRONG_VALUE, "Image(data) has NaN values"),
    "a picture of whole numbers": (
        lambda: Image(torch.ones(1, 2, 2).long()),
        WRONG_TYPE,
        "must be floats in [0, 1] or",
    ),
    "the path of a picture": (lambda: to_image("x.png"), WRONG_TYPE, "Image(data) must be a tensor or array"),
    "a sound without a rate": (lambda: Audio([0.0], 0), WRONG_VALUE, "Audio(sample_rate) must be a whole number of at"),
    "a sound of a rate in megahertz": (lambda: Audio([0.0], 2**33), WRONG_VALUE, "Audio(sample_rate) has an invalid"),
    "a sound that is too loud": (lambda: Audio([2.0], 8000), WRONG_VALUE, "the loudest of these is 2"),
    "a sound with channels last": (lambda: Audio(torch.ones(100, 2), 8000), WRONG_VALUE, "Audio(data) must have the"),
    "a graph of a class": (lambda: Graph(nn.Linear, torch.ones(1)), WRONG_TYPE, "Graph(model) must be an instance"),
    "a graph without inputs": (lambda: Graph(nn.Linear(1, 1), ()), WRONG_TYPE, "Graph(inputs) must be a tensor or"),
    "a file that is a number": (lambda: File(3), WRONG_TYPE, "File(file) must be a path, got 3"),
    "a file that is not there": (
        lambda: File("nothing/here"),
        UnreadableFileError,
        "cannot be read from 'nothing/here'",
    ),
    "a file that is a folder": (lambda: File("folder"), UnreadableFileError, "cannot be read from 'folder': Is a dir"),
    "the content of a file as a number": (
        lambda: File("a", 3),
        WRONG_TYPE,
        "File(data) must be bytes or str, got a int",
    ),
    # CSVBackend
    "a log that is None": (lambda: CSVBackend(None), WRONG_TYPE, "CSVBackend(path) must be a path, got None"),
    "a log without a name": (lambda: CSVBackend(""), WRONG_TYPE, "CSVBackend(path) must be a path"),
    "a log that is an open file": (lambda: CSVBackend(io.StringIO()), WRONG_TYPE, "CSVBackend(path) must be a path"),
    "a log that is a folder": (lambda: CSVBackend("folder"), WRONG_VALUE, "cannot write to 'folder': it is a folder"),
    "a log in a file": (lambda: CSVBackend("file/x.csv"), WRONG_VALUE, "CSVBackend cannot write to 'file/x.csv': "),
    "a log that is a device": (lambda: CSVBackend("/dev/full"), WRONG_VALUE, "it is not a regular file"),
    "a log in a folder that nobody writes to": (
        lambda: CSVBackend("/proc/x/y.csv"),
        WRONG_VALUE,
        "cannot write to '/pr",
    ),
    "a log whose name is too long": (lambda: CSVBackend("x" * 300), WRONG_VALUE, "File name too long"),
    "a log with a null in its name": (
        lambda: CSVBackend("a\0b"),
        WRONG_VALUE,
        "CSVBackend cannot write to 'a\\x00b': ",
    ),
    "append that is a text": (lambda: CSVBackend("a", append="yes"), WRONG_VALUE, "CSVBackend(append) has an invalid"),
    "overwrite that is a number": (
        lambda: CSVBackend("a", overwrite=3),
        WRONG_VALUE,
        "CSVBackend(overwrite) has an inv",
    ),
    "both of them": (lambda: CSVBackend("a", append=True, overwrite=True), WRONG_VALUE, "cannot both append to a file"),
    "a file that is no log": (lambda: CSVBackend("file"), LogExistsError, "exists and is not a log of a CSVBackend"),
    "a log that was closed": (lambda: log_to(closed(), Value(1), "a", 1), BackendClosedError, "was closed"),
    "a log that was closed before the fit": (
        lambda: toy_learner(Recorder(), Metrics(), LogMetrics(closed(), strict=True)).fit(1),
        BackendClosedError,
        "was closed",
    ),
}


def closed():
    backend = CSVBackend("closed.csv")
    backend.close()
    return backend


@pytest.mark.parametrize("case", INPUTS)
def test_it_is_named_with_the_fix(case, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("some text")
    use, error, what = INPUTS[case]
    with pytest.raises(error, match=rf"(?s){re.escape(what)}.*\nFix: "):
        use()


def test_a_file_that_cannot_be_opened_is_left_as_it_is(tmp_path) -> None:
    (tmp_path / "file").write_text("some text")
    with pytest.raises(ArgumentValueError, match="cannot write to"):
        CSVBackend(tmp_path / "file" / "x.csv", overwrite=True)
    assert (tmp_path / "file").read_text() == "some text"
