"""What cannot be right is refused where it is passed, by an error that names it and the fix."""

import re

import pytest
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import BackendClosedError, Value, log_to
from treadle_tensorboard import TensorBoardBackend

WRONG_TYPE, WRONG_VALUE = ArgumentTypeError, ArgumentValueError

INPUTS = {
    "None": (lambda: TensorBoardBackend(None), WRONG_TYPE, "TensorBoardBackend(logdir) must be a path, got None"),
    "bytes": (
        lambda: TensorBoardBackend(b"runs"),
        WRONG_TYPE,
        "TensorBoardBackend(logdir) must be a path, got b'runs'",
    ),
    "an empty text": (lambda: TensorBoardBackend(""), WRONG_TYPE, "TensorBoardBackend(logdir) must be a path"),
    "a file": (lambda: TensorBoardBackend("file"), WRONG_VALUE, "cannot write to 'file': it is not a folder"),
    "a folder in a file": (
        lambda: TensorBoardBackend("file/runs"),
        WRONG_VALUE,
        "cannot write to 'file/runs': Not a dir",
    ),
    "a folder that nobody writes to": (
        lambda: TensorBoardBackend("/proc/runs"),
        WRONG_VALUE,
        "cannot write to '/proc/r",
    ),
    "a null in the name": (
        lambda: TensorBoardBackend("a\0b"),
        WRONG_VALUE,
        "TensorBoardBackend cannot write to 'a\\x00b'",
    ),
    "another option": (lambda: TensorBoardBackend("a", log_dir="b"), WRONG_TYPE, "has no option `log_dir`"),
    "a queue of a text": (
        lambda: TensorBoardBackend("a", max_queue="9"),
        WRONG_TYPE,
        "TensorBoardBackend(max_queue) must",
    ),
    "a negative queue": (
        lambda: TensorBoardBackend("a", max_queue=-1),
        WRONG_VALUE,
        "TensorBoardBackend(max_queue) must",
    ),
    "seconds of a text": (
        lambda: TensorBoardBackend("a", flush_secs="1"),
        WRONG_TYPE,
        "TensorBoardBackend(flush_secs)",
    ),
    "a step of a text": (
        lambda: TensorBoardBackend("a", purge_step="1"),
        WRONG_TYPE,
        "TensorBoardBackend(purge_step) must",
    ),
    "a number as suffix": (
        lambda: TensorBoardBackend("a", filename_suffix=3),
        WRONG_TYPE,
        "(filename_suffix) must be an",
    ),
    "a path as suffix": (
        lambda: TensorBoardBackend("a", filename_suffix="/b"),
        WRONG_VALUE,
        "(filename_suffix) has an inv",
    ),
    "a number as comment": (
        lambda: TensorBoardBackend("a", comment=3),
        WRONG_TYPE,
        "TensorBoardBackend(comment) must be",
    ),
    "one that was closed": (lambda: log_to(closed(), Value(1), "a", 1), BackendClosedError, "of runs was closed"),
}


def closed():
    backend = TensorBoardBackend("runs")
    backend.close()
    return backend


@pytest.mark.parametrize("case", INPUTS)
def test_it_is_named_with_the_fix(case, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("some text")
    use, error, what = INPUTS[case]
    with pytest.raises(error, match=rf"(?s){re.escape(what)}.*\nFix: "):
        use()
    assert (tmp_path / "file").read_text() == "some text"
