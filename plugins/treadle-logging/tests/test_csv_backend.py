import csv
from pathlib import Path

import pytest
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import BackendClosedError, CSVBackend, Histogram, LogExistsError, Text, Value, log_to


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_numbers_are_read_back_exactly(tmp_path) -> None:
    path = tmp_path / "log.csv"
    numbers = [0.1 + 0.2, 1e-320, -3.0, float("inf"), 12345678.9]
    with CSVBackend(path) as backend:
        for i, number in enumerate(numbers):
            log_to(backend, Value(number), "Loss", i, ("Step", "Metrics"))
    header, *body = rows(path)
    assert header == ["tag", "iteration", "value"]
    assert [(tag, int(i), float(value)) for tag, i, value in body] == [
        ("Step/Metrics/Loss", i, number) for i, number in enumerate(numbers)
    ]


def test_texts_may_hold_anything(tmp_path) -> None:
    text = 'a, "quoted"\nsecond line: äöü'
    with CSVBackend(tmp_path / "log.csv") as backend:
        log_to(backend, Text(text), "Note", 1)
    assert rows(tmp_path / "log.csv")[1] == ["Note", "1", text]


def test_the_rest_is_not_supported(tmp_path, warnings) -> None:
    with CSVBackend(tmp_path / "log.csv") as backend:
        log_to(backend, Histogram([1, 2]), "Weights", 1)
    assert rows(tmp_path / "log.csv") == [["tag", "iteration", "value"]]
    assert warnings == [
        "CSVBackend does not support Histogram, so 'Weights' and others of its kind are not logged there. "
        "It takes: Value, Text, HyperParams."
    ]


def test_rows_can_be_read_after_a_flush(tmp_path) -> None:
    backend = CSVBackend(tmp_path / "log.csv")
    log_to(backend, Value(1), "a", 1)
    backend.flush()
    assert rows(tmp_path / "log.csv")[1:] == [["a", "1", "1.0"]]


def test_the_folder_is_made(tmp_path) -> None:
    CSVBackend(tmp_path / "runs" / "1" / "log.csv")
    assert (tmp_path / "runs" / "1" / "log.csv").exists()


def test_an_earlier_run_is_neither_mixed_with_nor_lost(tmp_path) -> None:
    path = tmp_path / "log.csv"
    with CSVBackend(path) as backend:
        log_to(backend, Value(1), "a", 1)
    with pytest.raises(LogExistsError, match=r"the log of an earlier run\.\nFix: .*overwrite=True.*\n.*append=True"):
        CSVBackend(path)
    assert rows(path)[1:] == [["a", "1", "1.0"]]


def test_a_log_that_was_never_written_to_is_not_an_earlier_run(tmp_path) -> None:
    CSVBackend(tmp_path / "log.csv").close()
    with CSVBackend(tmp_path / "log.csv") as backend:
        log_to(backend, Value(1), "a", 1)
    assert rows(tmp_path / "log.csv") == [["tag", "iteration", "value"], ["a", "1", "1.0"]]


def test_append_goes_on_with_it(tmp_path) -> None:
    for i in (1, 2):
        with CSVBackend(tmp_path / "log.csv", append=True) as backend:
            log_to(backend, Value(i), "a", i)
    assert rows(tmp_path / "log.csv") == [["tag", "iteration", "value"], ["a", "1", "1.0"], ["a", "2", "2.0"]]


def test_append_drops_a_row_that_a_killed_run_left_half_written(tmp_path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("tag,iteration,value\na,1,1.0\na,2,0.")
    with CSVBackend(path, append=True) as backend:
        log_to(backend, Value(2), "a", 2)
    assert rows(path)[1:] == [["a", "1", "1.0"], ["a", "2", "2.0"]]


def test_overwrite_replaces_it(tmp_path) -> None:
    for i in (1, 2):
        with CSVBackend(tmp_path / "log.csv", overwrite=True) as backend:
            log_to(backend, Value(i), "a", i)
    assert rows(tmp_path / "log.csv")[1:] == [["a", "2", "2.0"]]


@pytest.mark.parametrize("append", [True, False])
def test_a_file_that_is_not_a_log_is_left_alone(tmp_path, append: bool) -> None:
    path = tmp_path / "data.csv"
    path.write_text("name,age\nAda,36\n")
    with pytest.raises(LogExistsError, match="exists and is not a log of a CSVBackend: its first line is 'name,age'"):
        CSVBackend(path, append=append)
    assert path.read_text() == "name,age\nAda,36\n"


def test_append_and_overwrite_exclude_each_other(tmp_path) -> None:
    with pytest.raises(ArgumentValueError, match=r"cannot both append to a file and overwrite it\.\nFix: choose one"):
        CSVBackend(tmp_path / "log.csv", append=True, overwrite=True)


def test_the_path_is_a_path() -> None:
    with pytest.raises(
        ArgumentTypeError, match=r'CSVBackend\(path\) must be a path, got 3\.\nFix: .*\n    CSVBackend\("log\.csv"\)'
    ):
        CSVBackend(3)  # type: ignore[arg-type]


def test_nothing_is_logged_after_closing(tmp_path) -> None:
    backend = CSVBackend(tmp_path / "log.csv")
    backend.close()
    backend.close()
    with pytest.raises(
        BackendClosedError, match=r"was closed\.\nFix: go on with its file:\n    CSVBackend\(.*append=True\)"
    ):
        log_to(backend, Value(1), "a", 1)
    with pytest.raises(BackendClosedError, match="was closed"):
        backend.flush()
