"""What notebooks show: tables in the notebook's own colours, with everything escaped, and never too long."""

import re

import pytest
from treadle import (
    Callback,
    CallbackConflictError,
    CancelFittingException,
    FitResult,
    Series,
    TrainingPhase,
    Write,
    toy_learner,
)
from treadle.authoring import html_table


def texts(html: str) -> list[list[str]]:
    """The texts of a table's rows."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", row) for row in rows]


def test_numbers_have_four_digits_and_nothing_stays_empty() -> None:
    rows = [(1, 0.123456, None), (20, float("nan"), True)]
    assert texts(html_table(["a", "b", "c"], rows)) == [["a", "b", "c"], ["1", "0.1235", ""], ["20", "nan", "True"]]


def test_every_text_is_escaped() -> None:
    html = html_table(["<b>"], [("<script>alert(1)</script>",), ("a\nb & c",)], caption="<i>")
    assert "<script>" not in html
    assert texts(html) == [["&lt;b&gt;"], ["&lt;script&gt;alert(1)&lt;/script&gt;"], ["a<br>b &amp; c"]]
    assert '<caption style="text-align: left">&lt;i&gt;</caption>' in html


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (20, 20), (21, 20), (100_000, 20)])
def test_of_many_rows_the_first_and_the_last_are_shown(count: int, shown: int) -> None:
    rows = texts(html_table(["n"], [(n,) for n in range(count)]))[1:]
    numbers = [row[0] for row in rows if "more" not in row[0]]
    assert len(numbers) == shown
    if count > shown:
        assert rows[10] == [f"&#8942; {count - 20} more"]
        assert (numbers[0], numbers[-1]) == ("0", str(count - 1))


def test_no_table_has_a_colour_of_its_own() -> None:
    assert "color" not in html_table(["a"], [(1,), ("b",)] * 30, caption="c")


def test_a_result_is_a_table() -> None:
    class Stop(Callback):
        def on_step_end(self, phase: TrainingPhase) -> None:
            raise CancelFittingException("<enough>")

    assert texts(toy_learner(nbatches=2).fit(3)._repr_html_()) == [["epochs", "steps", "cancelled"], ["3", "6", ""]]
    result = toy_learner(Stop()).fit(3)
    assert texts(result._repr_html_())[1] == ["0", "1", "&lt;enough&gt; (by Stop)"]
    assert texts(FitResult(0, 0, CancelFittingException())._repr_html_())[1] == ["0", "0", "CancelFittingException"]


def test_a_result_shows_what_was_reported() -> None:
    class Fails(Callback):
        def on_epoch_end(self, phase: TrainingPhase) -> None:
            raise OSError("<full>")

    result = toy_learner(Fails(), observer_errors="warn").fit(2)
    assert texts(result._repr_html_())[2:] == [
        ["observer", "handler", "error", "times", "left out"],
        ["Fails", "on_epoch_end", "OSError(&#x27;&lt;full&gt;&#x27;)", "2", "no"],
    ]


def test_a_series_is_a_table() -> None:
    series = Series()
    assert texts(series._repr_html_()) == [["iteration", "value"]]
    series.push(3, 0.5)
    assert texts(series._repr_html_()) == [["iteration", "value"], ["3", "0.5"]]


class First(Callback):
    state_access = {"params": Write}

    def on_step_end(self, learner) -> None: ...


class Second(First): ...


def test_a_conflict_is_shown_with_the_line_of_the_user_and_the_message_alone() -> None:
    with pytest.raises(CallbackConflictError) as raised:
        toy_learner(First(), Second())
    (shown,) = raised.value._render_traceback_()
    assert re.match(
        r'  File ".*test_html\.py", line \d+, in test_a_conflict.*\n    toy_learner\(First\(\), Second\(\)\)\n', shown
    )
    assert shown.count("\n  File ") == 0
    assert shown.endswith(f"\nCallbackConflictError: {raised.value}")


def test_a_conflict_that_was_never_raised_is_its_message() -> None:
    assert CallbackConflictError([])._render_traceback_()[0].startswith("\nCallbackConflictError: The callbacks have 0")


def test_a_plan_shows_why_errors_end_a_fit() -> None:
    learner = toy_learner(First(), observer_errors="warn")
    assert texts(learner.plan()._repr_html_())[-2:] == [
        ["callback", "why its errors end a fit"],
        ["First", "it writes `params`"],
    ]
