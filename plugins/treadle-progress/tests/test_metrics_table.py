import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from treadle_progress.metrics_table import MetricsTable, formatted

WIDE, COMBINED, EMOJI = "精度", "pre\u0301cision", "😀 rate"  # 4, 9 and 7 columns in a terminal


def width(line):
    """The columns that a terminal takes for a line, by the tables of Unicode."""
    wide = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)
    return wide - sum(unicodedata.category(character) in ("Mn", "Me") for character in line)


def test_numbers_stand_below_their_names():
    table = MetricsTable(["Loss", "Mean squared error"])
    assert table.header() == ["epoch  phase                  Loss  Mean squared error"]
    assert table.row(12, "TrainingPhase", {"Loss": 0.5, "Mean squared error": 12.25}) == [
        "   12  TrainingPhase        0.5000             12.2500"
    ]


def test_numbers_stand_below_names_of_wide_combined_and_emoji_characters():
    table = MetricsTable([WIDE * 4, COMBINED, EMOJI, "Loss"]).with_room_for("訓練" * 5, [])
    lines = table.header() + table.row(1, "訓練" * 5, dict.fromkeys(table.names, 0.5))
    assert [width(line) for line in lines] == [table.width] * 2
    assert lines == [
        "epoch  phase                 精度精度精度精度   pre\u0301cision     😀 rate        Loss",
        "    1  訓練訓練訓練訓練訓練            0.5000      0.5000      0.5000      0.5000",
    ]


def test_a_metric_without_a_value_has_a_dash():
    assert MetricsTable(["Loss"]).row(1, "ValidationPhase", {}) == ["    1  ValidationPhase           -"]


def test_a_wider_table_keeps_the_columns_it_has():
    table = MetricsTable(["Loss"]).with_room_for("A phase with a long name", ["Accuracy", "Loss"])
    assert table.header() == ["epoch  phase                           Loss    Accuracy"]


def test_a_table_with_room_for_a_phase_and_metrics_stays_as_it_is():
    table = MetricsTable(["Loss", "Accuracy"])
    assert table.with_room_for("TrainingPhase", ["Accuracy"]) is table
    assert table.with_room_for("TrainingPhase", ["Recall"]) is not table
    assert table.with_room_for("A phase with a long name", ["Loss"]) is not table


def test_a_name_in_brackets_is_shown_as_it_is():
    assert MetricsTable(["[bold]Loss[/bold]"]).header()[0].endswith("  [bold]Loss[/bold]")


def test_a_phase_of_several_lines_has_one_row():
    assert MetricsTable(["Loss"]).row(1, "Phase(weight=\n[1])", {"Loss": 0.5}) == [
        "    1  Phase(weight= [1])      0.5000"
    ]


def test_where_there_is_no_room_for_a_row_an_epoch_has_a_line_for_each_metric():
    table = MetricsTable(["Loss", "Mean squared error", "精度"])
    assert table.block(3, "ValidationPhase", {"Loss": 0.5, "精度": -0.00012}, width=21) == [
        "3 ValidationPhase",
        "  Loss         0.5000",
        "  Mean              -",
        "  squared",
        "  error",
        "  精度     -1.200e-04",
    ]


names = st.lists(st.text(st.sampled_from("abc Loss精度é😀\u0301"), min_size=1, max_size=30), min_size=1, max_size=5)


@given(names, st.text(st.sampled_from("Phase訓練"), max_size=40), st.integers(16, 200))
@settings(max_examples=50, deadline=None)
@example(["x" * 300], "Training" * 30, 20)
def test_no_line_of_a_block_is_wider_than_the_terminal_and_no_number_is_cut(names, phase, columns):
    lines = MetricsTable(names).block(1, phase, dict.fromkeys(names, 0.125), columns)
    assert max(map(width, lines)) <= columns
    assert sum(line.count("0.1250") for line in lines) == len(names)


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
