import pytest
from treadle_progress.metrics_table import MetricsTable, formatted


def test_numbers_stand_below_their_names():
    table = MetricsTable(["Loss", "Mean squared error"])
    assert table.header() == "epoch  phase                  Loss  Mean squared error"
    assert table.row(12, "TrainingPhase", {"Loss": 0.5, "Mean squared error": 12.25}) == (
        "   12  TrainingPhase        0.5000             12.2500"
    )


def test_a_metric_without_a_value_has_a_dash():
    assert MetricsTable(["Loss"]).row(1, "ValidationPhase", {}) == "    1  ValidationPhase           -"


def test_a_wider_table_keeps_the_columns_it_has():
    table = MetricsTable(["Loss"]).wider("A phase with a long name", ["Accuracy", "Loss"])
    assert table.header() == "epoch  phase                           Loss    Accuracy"
    assert table.fits("TrainingPhase", ["Accuracy"])


def test_what_has_no_place_does_not_fit():
    table = MetricsTable(["Loss"])
    assert table.fits("TrainingPhase", ["Loss"])
    assert not table.fits("TrainingPhase", ["Accuracy"])
    assert not table.fits("A phase with a long name", ["Loss"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.0010"),
        (9999.99994, "9999.9999"),
        (12345678.0, "1.235e+07"),
        (-0.00012, "-1.200e-04"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_four_decimals_or_four_digits(value, text):
    assert formatted(value) == text
