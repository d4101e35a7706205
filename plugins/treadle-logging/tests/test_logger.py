import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import Series
from treadle.errors import ArgumentTypeError, ArgumentValueError, CancelFittingException
from treadle_logging import CSVBackend, LoggerBackend, LogMetrics, Value
from treadle_logging.logger import Logger, SeriesLogger, StepLogger


def entries(*numbers: float):
    return [(Value(number), "a", i, ()) for i, number in enumerate(numbers, 1)]


def test_a_failure_is_reported_once_and_the_others_get_everything(new_memory, warnings) -> None:
    broken, whole = new_memory(fail_on=lambda call: call <= 2), new_memory()
    logger = Logger(broken, whole)
    for number in (1, 2, 3):
        logger.send(entries(number))
    assert [data for _, _, data in whole.rows] == [1.0, 2.0, 3.0]
    assert [data for _, _, data in broken.rows] == [3.0]
    assert warnings == [
        "Logger could not log 'a' at 1 to Memory: OSError: the disk is full. Everything else is logged; "
        "Logger(..., strict=True) would raise this."
    ]


def test_after_three_failures_in_a_row_a_backend_is_left_alone(new_memory, warnings) -> None:
    broken = new_memory(fail_on=lambda call: True)
    logger = Logger(broken)
    for number in range(10):
        logger.send(entries(number))
        logger.flush()
    assert broken.calls == 3
    assert warnings[1:] == [
        "Logger stops logging to Memory for the rest of this fit: it failed 3 times in a row, at last with "
        "OSError: the disk is full."
    ]


class Picky(LoggerBackend):
    """Takes no numbers below 0, and of the rest it keeps the iterations."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.refused = 0

    def log(self, loggable, name, i, group) -> None:
        if loggable.number < 0:
            self.refused += 1
            raise ValueError("negative")
        self.taken.append(i)


@given(st.lists(st.booleans(), max_size=90), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_an_entry_that_a_backend_cannot_take_costs_no_other_entry(bad, block) -> None:
    picky, loss = Picky(), Series()
    logger = SeriesLogger(picky, block=block, seconds=1e9)
    for i, negative in enumerate(bad, 1):
        loss.push(i, -1.0 if negative else 1.0)
        logger.note({"Loss": loss}, ("Step",))
    logger.flush()
    assert picky.taken == [i for i, negative in enumerate(bad, 1) if not negative]


def test_an_entry_that_a_backend_cannot_take_is_reported_once_for_each_kind(warnings) -> None:
    logger = Logger(Picky())
    logger.send([*entries(-1, 5, -2), (Value(-3), "b", 7, ("Epoch",))])
    assert warnings == [
        "Logger could not log 'a' at 1 to Picky: ValueError: negative. Everything else is logged; "
        "Logger(..., strict=True) would raise this."
    ]


def test_a_backend_that_takes_nothing_is_left_alone_after_a_hundred_entries(warnings) -> None:
    picky = Picky()
    logger = Logger(picky)
    logger.send(entries(*[-1] * 150))
    assert picky.refused == 100
    assert warnings[1:] == [
        "Logger stops logging to Picky for the rest of this fit: it failed 100 times in a row, at last with "
        "ValueError: negative."
    ]


def test_a_backend_that_was_closed_is_left_alone_after_three_entries(tmp_path, warnings) -> None:
    backend = CSVBackend(tmp_path / "log.csv")
    backend.close()
    Logger(backend).send(entries(1, 2, 3, 4))
    first, last = warnings
    assert first.startswith(f"Logger could not log 'a' at 1 to {backend!r}: BackendClosedError: ")
    assert "it failed 3 times in a row" in last


def test_entries_of_a_shared_backend_stand_in_the_order_in_which_they_were_noted(memory) -> None:
    slow, quick = SeriesLogger(memory, block=1000, seconds=1e9), SeriesLogger(memory, block=1000, seconds=0)
    loss, rate = Series(), Series()
    for i in (1, 2):
        loss.push(i, 0.5)
        rate.push(i, 0.1)
        slow.note({"Loss": loss}, ())
        quick.note({"Rate": rate}, ())
    Logger(memory).send(entries(7))
    assert [tag for tag, _, _ in memory.rows] == ["Loss", "Rate", "Loss", "Rate", "a"]


def test_a_success_starts_the_count_again(new_memory, warnings) -> None:
    now_and_then = new_memory(fail_on=lambda call: call % 3 != 0)
    logger = Logger(now_and_then)
    for number in range(9):
        logger.send(entries(number))
    assert now_and_then.calls == 9
    assert len(warnings) == 1


def test_a_new_fit_is_a_new_chance(new_memory, warnings) -> None:
    broken = new_memory(fail_on=lambda call: call <= 3)
    logger = Logger(broken)
    for number in range(5):
        logger.send(entries(number))
    logger.on_fit_begin()
    logger.send(entries(7))
    assert [data for _, _, data in broken.rows] == [7.0]


def test_a_flush_that_fails_counts_like_any_other(warnings) -> None:
    class Blocked(LoggerBackend):
        flushes = 0

        def log(self, loggable, name, i, group) -> None:
            pass

        def flush(self) -> None:
            self.flushes += 1
            raise ConnectionError("no route")

    blocked = Blocked()
    logger = Logger(blocked)
    for number in range(5):
        logger.send(entries(number))
        logger.flush()
    assert blocked.flushes == 3
    assert warnings[0].startswith("Logger could not flush to Blocked: ConnectionError: no route.")


def test_strict_raises_what_the_backend_raised(new_memory, warnings) -> None:
    logger = Logger(new_memory(fail_on=lambda call: True), strict=True)
    with pytest.raises(OSError, match="the disk is full"):
        logger.send(entries(1))
    assert warnings == []


def test_a_request_to_stop_is_not_a_failure(warnings) -> None:
    class Quota(LoggerBackend):
        def log(self, loggable, name, i, group) -> None:
            raise CancelFittingException("the quota is used up")

    with pytest.raises(CancelFittingException, match="the quota is used up"):
        Logger(Quota()).send(entries(1))
    assert warnings == []


def test_a_logger_needs_backends() -> None:
    with pytest.raises(
        ArgumentValueError, match=r'LogMetrics has no backend\.\nFix: .*\n    LogMetrics\(CSVBackend\("'
    ):
        LogMetrics()
    with pytest.raises(ArgumentTypeError, match=r"LogMetrics\(backends\)\[0\] must be .* LoggerBackend, got 'runs'"):
        LogMetrics("runs")  # type: ignore[arg-type]


class TestStepLogger:
    def test_the_first_step_counts(self, memory) -> None:
        logger = StepLogger(memory, freq=100)
        assert [step for step in range(1, 300) if logger.is_due(step)] == [1, 101, 201]

    def test_none_and_one_mean_every_step(self, memory) -> None:
        for freq in (None, 1):
            assert all(StepLogger(memory, freq=freq).is_due(step) for step in range(1, 10))

    def test_anything_but_a_positive_int_is_refused(self, memory) -> None:
        with pytest.raises(ArgumentTypeError, match=r"StepLogger\(freq\) must be a whole number .*, got 2\.5"):
            StepLogger(memory, freq=2.5)  # type: ignore[arg-type]
        with pytest.raises(ArgumentValueError, match=r"of at least 1, got 0\.\nFix: .*\n.* freq=None for every step"):
            StepLogger(memory, freq=0)


def series(*values: float) -> Series:
    filled = Series()
    for i, value in enumerate(values, 1):
        filled.push(i, value)
    return filled


def test_nothing_is_written_before_it_is_due(memory) -> None:
    logger = SeriesLogger(memory, block=3, seconds=1e9)
    loss = Series()
    for step in range(1, 8):
        loss.push(step, step / 10)
        logger.note({"Loss": loss}, ("Step",))
        assert len(memory.rows) == 3 * (step // 3)
    logger.flush()
    assert memory.rows == [("Step/Loss", step, step / 10) for step in range(1, 8)]
    assert memory.flushes == 1


def test_it_is_due_when_the_seconds_have_passed(memory) -> None:
    logger = SeriesLogger(memory, seconds=0)
    logger.note({"Loss": series(0.5)}, ("Step",))
    assert memory.rows == [("Step/Loss", 1, 0.5)]


def test_the_rows_stand_in_the_order_of_the_steps(memory) -> None:
    logger = SeriesLogger(memory)
    loss, accuracy = Series(), Series()
    for step in (1, 2):
        loss.push(step, 0.5)
        accuracy.push(step, 0.75)
        logger.note({"Loss": loss, "Accuracy": accuracy}, ("Step",))
    logger.write()
    assert [(tag, i) for tag, i, _ in memory.rows] == [
        ("Step/Loss", 1),
        ("Step/Accuracy", 1),
        ("Step/Loss", 2),
        ("Step/Accuracy", 2),
    ]


def test_a_value_is_logged_once_however_often_it_is_noted(memory) -> None:
    logger = SeriesLogger(memory)
    loss = series(0.5)
    for _ in range(3):
        logger.note({"Loss": loss}, ("Step",))
        logger.write()
    assert memory.rows == [("Step/Loss", 1, 0.5)]


def test_only_the_newest_value_is_noted(memory) -> None:
    logger = SeriesLogger(memory)
    logger.note({"Loss": series(0.1, 0.2, 0.3)}, ("Step",))
    logger.write()
    assert memory.rows == [("Step/Loss", 3, 0.3)]


def test_an_empty_series_has_nothing_to_log(memory) -> None:
    logger = SeriesLogger(memory)
    logger.note({"Loss": Series()}, ("Step",))
    logger.write()
    assert memory.rows == []


def test_equal_names_in_other_groups_are_other_series(memory) -> None:
    logger = SeriesLogger(memory)
    logger.note({"Loss": series(0.1)}, ("Step", "TrainingPhase"))
    logger.note({"Loss": series(0.2)}, ("Step", "ValidationPhase"))
    logger.write()
    assert memory.rows == [("Step/TrainingPhase/Loss", 1, 0.1), ("Step/ValidationPhase/Loss", 1, 0.2)]


def test_what_was_cut_back_before_it_was_written_is_left_out(memory) -> None:
    logger = SeriesLogger(memory)
    loss = series(0.1, 0.2)
    logger.note({"Loss": loss}, ("Step",))
    loss.load_state_dict(series(0.1).state_dict())
    logger.write()
    assert memory.rows == []
    loss.push(2, 0.5)
    loss.push(3, 0.6)
    logger.note({"Loss": loss}, ("Step",))
    logger.write()
    assert memory.rows == [("Step/Loss", 3, 0.6)]


def test_noting_does_not_read_the_values(memory) -> None:
    loss = Series()
    loss.push(1, torch.tensor(0.5, device="meta"))  # reading it would fail
    logger = SeriesLogger(memory)
    logger.note({"Loss": loss}, ("Step",))
    assert memory.rows == []


def test_the_arguments_are_checked(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"SeriesLogger\(block\) must be a whole number of at least 1, got 'a'"):
        SeriesLogger(memory, block="a")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match=r"SeriesLogger\(block\) must be .*, got 0"):
        SeriesLogger(memory, block=0)
    with pytest.raises(ArgumentValueError, match=r"SeriesLogger\(seconds\) must be a number of at least 0, got -1"):
        SeriesLogger(memory, seconds=-1)
    with pytest.raises(ArgumentTypeError, match=r"SeriesLogger\(seconds\) must be a number"):
        SeriesLogger(memory, seconds="a")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match="SeriesLogger has no backend"):
        SeriesLogger()


def test_an_interrupt_while_entries_are_written_costs_only_the_one_that_was_being_written() -> None:
    class Interrupted(Picky):
        def log(self, loggable, name, i, group) -> None:
            if loggable.number == 3:
                raise KeyboardInterrupt
            super().log(loggable, name, i, group)

    backend = Interrupted()
    logger = Logger(backend)
    with pytest.raises(KeyboardInterrupt):
        logger.send(entries(1, 2, 3, 4, 5))
    logger.on_fit_end()
    assert backend.taken == [1, 2, 4, 5]
