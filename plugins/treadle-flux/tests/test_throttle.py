"""How often a function is called: scripted times, exact calls."""

import pytest
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_flux import throttle
from treadle_flux.throttle import Throttled


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setitem(Throttled.__call__.__globals__, "monotonic", clock)
    return clock


def calls(clock: Clock, times: list[float], **options: bool) -> list[tuple[float, int]]:
    """When the function ran, and with which call's argument, if it is called at these times."""
    ran: list[tuple[float, int]] = []
    throttled = throttle(lambda i: ran.append((clock.now, i)), 10, **options)
    for i, clock.now in enumerate(times):
        throttled(i)
    return ran


TIMES = [0, 4, 9, 10, 12, 21, 40]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(0, 0), (10, 3), (21, 5), (40, 6)]),
        # The call of 9 is made when the window has ended, which the call of 10 notices, and then waits itself.
        ({"trailing": True}, [(0, 0), (10, 2), (21, 4), (40, 5)]),
        # The first call of a window is kept.
        ({"leading": False}, [(10, 0), (40, 5)]),
        ({"leading": False, "trailing": True}, [(10, 2), (21, 4), (40, 5)]),
    ],
)
def test_the_function_runs_at_most_once_in_a_window(clock: Clock, options, expected) -> None:
    assert calls(clock, TIMES, **options) == expected


def test_a_call_inside_of_a_window_returns_the_last_result(clock: Clock) -> None:
    double = throttle(lambda x: 2 * x, 10)
    assert (double(1), double(2)) == (2, 2)
    clock.now = 10
    assert double(3) == 6


def test_before_the_first_run_the_result_is_none(clock: Clock) -> None:
    assert throttle(lambda: 1, 10, leading=False)() is None


def test_a_trailing_run_begins_another_window(clock: Clock) -> None:
    assert calls(clock, [0, 5, 12, 15, 21, 23], trailing=True) == [(0, 0), (12, 1), (23, 4)]


def test_flush_makes_the_call_that_was_kept_and_no_other(clock: Clock) -> None:
    ran: list[int] = []
    throttled = throttle(ran.append, 10, trailing=True)
    throttled(1)
    throttled.flush()
    throttled(2)
    throttled.flush()
    throttled.flush()
    assert ran == [1, 2]


def test_an_error_reaches_the_caller_and_the_next_call_runs(clock: Clock) -> None:
    ran: list[int] = []

    def f(i: int) -> None:
        ran.append(i)
        if i == 0:
            raise KeyError("x")

    throttled = throttle(f, 10)
    with pytest.raises(KeyError):
        throttled(0)
    throttled(1)
    assert ran == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, 10), ArgumentTypeError, "f must be a function, got 3"),
        ((print, -1), ArgumentValueError, "timeout must be a number of at least 0, got -1"),
        ((print, "10"), ArgumentTypeError, "timeout must be a number of at least 0, got '10'"),
        ((print, 10, 1), ArgumentTypeError, "leading must be an instance of bool, got 1"),
        ((print, 10, True, 0), ArgumentTypeError, "trailing must be an instance of bool, got 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message: str) -> None:
    with pytest.raises(error, match=message):
        throttle(*arguments)
