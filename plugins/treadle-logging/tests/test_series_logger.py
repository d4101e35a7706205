import pytest
import torch
from treadle import Series, TrainingPhase
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging.series_logger import SeriesLogger, phase_name


def series(*values: float) -> Series:
    one = Series()
    for i, value in enumerate(values, 1):
        one.push(i, value)
    return one


def test_nothing_is_written_before_it_is_due(memory) -> None:
    logger = SeriesLogger(memory, block=3, seconds=1e9)
    loss = Series()
    for step in range(1, 8):
        loss.push(step, step / 10)
        logger.note({"Loss": loss}, ("Step",))
        logger.write_if_due()
        assert len(memory.rows) == 3 * (step // 3)
    logger.finish()
    assert memory.rows == [("Step/Loss", step, step / 10) for step in range(1, 8)]
    assert memory.flushes == 1


def test_it_is_due_when_the_seconds_have_passed(memory) -> None:
    logger = SeriesLogger(memory, seconds=0)
    logger.note({"Loss": series(0.5)}, ("Step",))
    logger.write_if_due()
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
    logger.write_if_due()
    assert memory.rows == []


def test_phases_that_differ_in_their_fields_have_tags_of_their_own() -> None:
    class Stage(TrainingPhase):
        def __init__(self, number: int) -> None:
            self.number = number

    assert phase_name(Stage(2)) == "Stage(number=2)"


def test_the_arguments_are_checked(memory) -> None:
    with pytest.raises(ArgumentTypeError, match=r"needs an int and a number, got block='a', seconds=10\.0"):
        SeriesLogger(memory, block="a")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match=r"SeriesLogger\(backend, block=1\) writes every value at once"):
        SeriesLogger(memory, block=0)
    with pytest.raises(ArgumentValueError, match="got block=1000, seconds=-1"):
        SeriesLogger(memory, seconds=-1)
    with pytest.raises(ArgumentValueError, match="SeriesLogger needs at least one backend"):
        SeriesLogger()
