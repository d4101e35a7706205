import pytest
from treadle.errors import ArgumentTypeError, ArgumentValueError, CancelFittingException
from treadle_logging import LoggerBackend, Value
from treadle_logging.delivery import Delivery


def entries(*numbers: float):
    return [(Value(number), "a", i, ()) for i, number in enumerate(numbers, 1)]


def test_a_failure_is_reported_once_and_the_others_get_everything(new_memory, said) -> None:
    broken, whole = new_memory(fail_on=lambda call: call <= 2), new_memory()
    delivery = Delivery("LogMetrics", (broken, whole))
    for number in (1, 2, 3):
        delivery.send(entries(number))
    assert [data for _, _, data in whole.rows] == [1.0, 2.0, 3.0]
    assert [data for _, _, data in broken.rows] == [3.0]
    assert said == [
        "LogMetrics could not log to Memory: OSError: the disk is full. Training goes on; "
        "LogMetrics(..., strict=True) would raise this."
    ]


def test_after_three_failures_in_a_row_a_backend_is_left_alone(new_memory, said) -> None:
    broken = new_memory(fail_on=lambda call: True)
    delivery = Delivery("LogMetrics", (broken,))
    for number in range(10):
        delivery.send(entries(number))
        delivery.flush()
    assert broken.calls == 3
    assert said[1:] == ["LogMetrics leaves Memory alone for the rest of this fit: it failed 3 times in a row."]


def test_a_success_starts_the_count_again(new_memory, said) -> None:
    now_and_then = new_memory(fail_on=lambda call: call % 3 != 0)
    delivery = Delivery("LogMetrics", (now_and_then,))
    for number in range(9):
        delivery.send(entries(number))
    assert now_and_then.calls == 9
    assert len(said) == 1


def test_a_new_fit_is_a_new_chance(new_memory, said) -> None:
    broken = new_memory(fail_on=lambda call: call <= 3)
    delivery = Delivery("LogMetrics", (broken,))
    for number in range(5):
        delivery.send(entries(number))
    delivery.begin()
    delivery.send(entries(7))
    assert [data for _, _, data in broken.rows] == [7.0]


def test_a_flush_that_fails_counts_like_any_other(said) -> None:
    class Blocked(LoggerBackend):
        flushes = 0

        def log(self, loggable, name, i, group) -> None:
            pass

        def flush(self) -> None:
            self.flushes += 1
            raise ConnectionError("no route")

    blocked = Blocked()
    delivery = Delivery("LogTraces", (blocked,))
    for number in range(5):
        delivery.send(entries(number))
        delivery.flush()
    assert blocked.flushes == 3
    assert said[0].startswith("LogTraces could not flush to Blocked: ConnectionError: no route.")


def test_strict_raises_what_the_backend_raised(new_memory, said) -> None:
    delivery = Delivery("LogMetrics", (new_memory(fail_on=lambda call: True),), strict=True)
    with pytest.raises(OSError, match="the disk is full"):
        delivery.send(entries(1))
    assert said == []


def test_a_request_to_stop_is_no_failure(said) -> None:
    class Quota(LoggerBackend):
        def log(self, loggable, name, i, group) -> None:
            raise CancelFittingException("the quota is used up")

    with pytest.raises(CancelFittingException, match="the quota is used up"):
        Delivery("LogMetrics", (Quota(),)).send(entries(1))
    assert said == []


def test_a_delivery_needs_backends() -> None:
    with pytest.raises(
        ArgumentValueError,
        match=r'LogMetrics needs at least one backend: LogMetrics\(CSVBackend\("log.csv"\)',
    ):
        Delivery("LogMetrics", ())
    with pytest.raises(ArgumentTypeError, match="LogMetrics needs backends, got 'runs'"):
        Delivery("LogMetrics", ("runs",))  # type: ignore[arg-type]
