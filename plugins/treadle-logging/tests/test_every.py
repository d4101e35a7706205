import pytest
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging.every import Every


def test_the_first_step_counts() -> None:
    assert [step for step in range(1, 300) if Every(100, "LogHistograms")(step)] == [1, 101, 201]


def test_none_and_one_mean_each_step() -> None:
    assert all(Every(None, "LogHistograms")(step) and Every(1, "LogHistograms")(step) for step in range(1, 10))


def test_anything_but_a_positive_int_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"LogHistograms needs an int or None, got freq=2\.5"):
        Every(2.5, "LogHistograms")  # type: ignore[arg-type]
    with pytest.raises(ArgumentValueError, match=r"got freq=0\. Every step is: LogHistograms\(\.\.\., freq=None\)"):
        Every(0, "LogHistograms")
