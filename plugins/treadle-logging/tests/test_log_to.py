import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import CSVBackend, Value, log_to


def test_a_group_is_one_name_or_several(memory) -> None:
    log_to(memory, Value(1), "a", 1)
    log_to(memory, Value(2), "b", 2, "Step")
    log_to(memory, Value(3), "c", 3, group=("Step", "Metrics"))
    log_to(memory, Value(4), "d", 4, group=["Step", "Metrics"])
    assert memory.rows == [
        ("a", 1, 1.0),
        ("Step/b", 2, 2.0),
        ("Step/Metrics/c", 3, 3.0),
        ("Step/Metrics/d", 4, 4.0),
    ]


def test_every_backend_gets_it(new_memory) -> None:
    first, second = new_memory(), new_memory()
    log_to((first, second), Value(1), "a", 1)
    assert first.rows == second.rows == [("a", 1, 1.0)]


def test_what_a_backend_raises_reaches_the_caller(new_memory) -> None:
    with pytest.raises(OSError, match="the disk is full"):
        log_to(new_memory(fail_on=lambda call: True), Value(1), "a", 1)


def test_a_bare_number_is_refused_with_the_mend(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"needs a Loggable, got float 0\.5.*Value\(number\)"):
        log_to(memory, 0.5, "a", 1)  # type: ignore[arg-type]


def test_the_iteration_is_an_int(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"the iteration as an int, got 1\.5"):
        log_to(memory, Value(1), "a", 1.5)  # type: ignore[arg-type]


def test_names_are_strings_that_are_not_empty(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"names of type str, got 3: str\(3\)"):
        log_to(memory, Value(1), 3, 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match="names of type str, got None"):
        log_to(memory, Value(1), "a", 1, group=("Step", None))  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="log_to got an empty name"):
        log_to(memory, Value(1), "", 1)


def test_a_backend_is_needed() -> None:
    with pytest.raises(ArgumentValueError, match=r'at least one backend: log_to\(CSVBackend\("log.csv"\)'):
        log_to([], Value(1), "a", 1)
    with pytest.raises(ArgumentTypeError, match=r"needs backends, got 'log\.csv'"):
        log_to("log.csv", Value(1), "a", 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"\(the class; make one of it\)"):
        log_to(CSVBackend, Value(1), "a", 1)  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError, match=r"subclass of treadle_logging\.LoggerBackend"):
        log_to(torch.zeros(1), Value(1), "a", 1)  # type: ignore[arg-type]
