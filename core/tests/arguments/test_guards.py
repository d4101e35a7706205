from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from treadle import ArgumentTypeError, ArgumentValueError, Event, Phase, StepEnd, TrainingPhase
from treadle.arguments import (
    file_path,
    function,
    instance_of,
    list_of,
    one_of,
    real_number,
    subclass_of,
    whole_number,
    writable,
)

WRITE = "\nFix: write, for example:\n    f(x=1)"


def refused(error: type[Exception], guard, *args, **options) -> str:
    with pytest.raises(error) as caught:
        guard(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_a_whole_number_is_whatever_python_can_index_with(value) -> None:
    number = whole_number(value, "x", "f(x=1)")
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [True, 3.0, "3", None, np.float64(3), torch.tensor(3.0), [3]])
def test_what_is_not_a_whole_number_is_refused(value) -> None:
    assert refused(ArgumentTypeError, whole_number, value, "x", "f(x=1)") == (
        f"x must be a whole number, got {value!r}.{WRITE}"
    )


def test_a_whole_number_has_a_least_value() -> None:
    assert whole_number(1, "x", "f(x=1)", least=1) == 1
    assert refused(ArgumentValueError, whole_number, 0, "x", "f(x=1)", least=1) == (
        f"x must be a whole number of at least 1, got 0.{WRITE}"
    )


@pytest.mark.parametrize("value", [0.5, Fraction(1, 2), np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5])])
def test_a_real_number_is_whatever_converts_to_a_float(value) -> None:
    number = real_number(value, "x", "f(x=1)")
    assert (number, type(number)) == (0.5, float)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j, torch.ones(2)])
def test_what_is_not_a_real_number_is_refused(value) -> None:
    assert refused(ArgumentTypeError, real_number, value, "x", "f(x=1)") == f"x must be a number, got {value!r}.{WRITE}"


@pytest.mark.parametrize(
    ("bounds", "valid", "invalid", "words"),
    [
        ({}, [float("inf")], [float("nan")], "a number"),
        ({"finite": True}, [0], [float("inf"), float("-inf"), float("nan")], "a finite number"),
        ({"least": 0}, [0, float("inf")], [-1, float("nan")], "a number of at least 0"),
        ({"above": 0}, [0.1], [0, -1, float("nan")], "a number above 0"),
        ({"most": 1}, [1], [1.1], "a number of at most 1"),
        ({"least": 0, "below": 1}, [0], [-0.1, 1], "a number of at least 0 and below 1"),
    ],
)
def test_a_real_number_has_bounds(bounds, valid, invalid, words) -> None:
    for value in valid:
        assert real_number(value, "x", "f(x=1)", **bounds) == value
    for value in invalid:
        message = refused(ArgumentValueError, real_number, value, "x", "f(x=1)", **bounds)
        assert message == f"x must be {words}, got {value!r}.{WRITE}"


def test_one_of_lists_the_options() -> None:
    assert one_of("b", "x", ["a", "b", "c"]) == "b"
    assert refused(ArgumentValueError, one_of, "d", "x", ["a", "b", "c"]) == (
        "x has an invalid value: 'd'.\nFix: pass 'a', 'b' or 'c'."
    )
    assert refused(ArgumentValueError, one_of, None, "x", ["a"]) == "x has an invalid value: None.\nFix: pass 'a'."


def test_an_instance_is_not_its_class() -> None:
    phase = TrainingPhase()
    assert instance_of(phase, "x", Phase, "f(x=1)") is phase
    assert refused(ArgumentTypeError, instance_of, 3, "x", Phase, "f(x=1)") == (
        f"x must be an instance of Phase, got 3.{WRITE}"
    )
    assert refused(ArgumentTypeError, instance_of, TrainingPhase, "x", Phase, "f(x=1)") == (
        "x must be an instance of Phase, got the class TrainingPhase.\nFix: make an instance:\n    TrainingPhase()"
    )


def test_a_subclass_is_not_an_instance() -> None:
    assert subclass_of(StepEnd, "x", Event, "f(x=1)") is StepEnd
    assert subclass_of(Event, "x", Event, "f(x=1)") is Event
    expected = "x must be Event or a subclass of it, got"
    assert refused(ArgumentTypeError, subclass_of, 3, "x", Event, "f(x=1)") == f"{expected} 3.{WRITE}"
    assert refused(ArgumentTypeError, subclass_of, Phase, "x", Event, "f(x=1)") == f"{expected} the class Phase.{WRITE}"


def test_a_list_is_any_iterable_of_instances() -> None:
    assert list_of(iter("ab"), "x", str, "f(x=1)") == ("a", "b")
    assert list_of([], "x", str, "f(x=1)") == ()
    assert refused(ArgumentTypeError, list_of, "ab", "x", str, "f(x=1)") == f"x must be a list, got 'ab'.{WRITE}"
    assert refused(ArgumentTypeError, list_of, 3, "x", str, "f(x=1)") == f"x must be a list, got 3.{WRITE}"
    assert refused(ArgumentTypeError, list_of, ["a", 3], "x", str, "f(x=1)") == (
        f"x[1] must be an instance of str, got 3.{WRITE}"
    )


def test_a_function_can_be_called() -> None:
    assert function(len, "x", "f(x=1)") is len
    assert refused(ArgumentTypeError, function, 3, "x", "f(x=1)") == f"x must be a function, got 3.{WRITE}"


def test_a_path_is_a_text_or_a_path() -> None:
    assert file_path("a/b", "x", "f(x=1)") == file_path(Path("a/b"), "x", "f(x=1)") == Path("a/b")
    assert refused(ArgumentTypeError, file_path, 3, "x", "f(x=1)") == f"x must be a path, got 3.{WRITE}"


def test_what_is_written_to_has_a_method_write(tmp_path) -> None:
    with open(tmp_path / "file", "w") as file:
        assert writable(file, "x", "f(x=1)") is file
    assert (
        refused(ArgumentTypeError, writable, "file", "x", "f(x=1)")
        == f"x must be a file to write to, got 'file'.{WRITE}"
    )
    with open(tmp_path / "file", "wb") as binary:
        assert refused(ArgumentTypeError, writable, binary, "x", "f(x=1)").startswith(
            "x must be a file that takes text, not bytes, got <"
        )
    assert refused(ArgumentValueError, writable, file, "x", "f(x=1)").startswith("x must be an open file, got <")


def test_a_long_value_is_shortened() -> None:
    message = refused(ArgumentTypeError, function, "a" * 1000, "x", "f(x=1)")
    assert message == f"x must be a function, got '{'a' * 99}....{WRITE}"
