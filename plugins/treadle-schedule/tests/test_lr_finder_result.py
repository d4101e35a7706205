import math
import sys

import pytest
from treadle_schedule import LRFinderError, LRFinderResult, PlotError


def result(losses, num_it=100, first=0, last=5):
    """A sweep over the learning rates 1, 10, 100 ..., of which the rules see these losses."""
    smoothed = [9.0] * first + list(losses) + [99.0] * last
    lrs = [10.0**i for i in range(-first, len(losses) + last)]
    return LRFinderResult(tuple(lrs), tuple(smoothed), tuple(smoothed), num_it, "the loss diverged")


class TestSuggestion:
    def test_a_tenth_of_where_the_loss_is_lowest(self):
        assert result([5, 4, 3, 2, 9], num_it=9).suggestion("minimum") == 100

    def test_where_it_falls_fastest(self):
        assert result([5, 4, 1, 0.5, 9], num_it=9).suggestion("steepest") == 10

    def test_in_the_middle_of_the_longest_way_down(self):
        losses = [9, 8, 7, 6, 5, 4, 3, 2, 1, 50, 40]
        assert result(losses, num_it=9).suggestion("valley") == 10.0 ** (-1 + 9 // 3 + 9 // 6)

    def test_the_longest_way_down_may_be_interrupted(self):
        losses = [5, 9, 8, 20, 7, 6, 20, 5, 4]
        # 9 8 7 6 5 4 ends at the last point: from 9 - 1 - 6 on, a third and a sixth of 6
        assert result(losses, num_it=9).suggestion("valley") == 10.0 ** (2 + 2 + 1)

    def test_the_default_is_the_valley(self):
        losses = [9, 8, 7, 6, 5, 4, 3, 2, 1]
        assert result(losses, num_it=9).suggestion() == result(losses, num_it=9).suggestion("valley")

    def test_before_the_loss_begins_to_rise(self):
        losses = [2 - 0.01 * i for i in range(20)] + [1.8 + 0.1 * i * i for i in range(10)]
        # Up to point 19 the slope is -0.01. The window from 20 to 5 is the last whose ends differ.
        assert result(losses, num_it=9).suggestion("slide") == 10.0**5

    def test_by_a_custom_rule(self):
        assert result([3, 2, 1], num_it=9).suggestion(lambda lrs, losses: lrs[losses.index(2)]) == 10

    def test_the_first_tenth_and_the_last_five_points_are_left_out(self):
        seen = []
        result([3, 2, 1], num_it=20, first=2).suggestion(lambda lrs, losses: seen.append((lrs, losses)))
        assert seen == [([1, 10, 100], [3, 2, 1])]

    def test_points_without_a_finite_loss_are_left_out(self):
        seen = []
        losses = [3, math.nan, 2, math.inf]
        result(losses, num_it=9).suggestion(lambda lrs, losses: seen.append((lrs, losses)))
        assert seen == [([1, 100], [3, 2])]

    def test_too_few_points_are_an_error_that_says_how_to_get_more(self):
        with pytest.raises(
            LRFinderError,
            match=r"^The sweep stopped after 10 steps \(the loss div.* 5 points .* needs 16\.\nFix: .*\n.*num_it=300",
        ):
            result([5, 4, 3, 2, 1], num_it=9).suggestion("slide")

    def test_a_loss_that_never_falls_is_an_error(self):
        with pytest.raises(
            LRFinderError, match=r"never falls between the learning rates 1 and 1e\+02, .*\nFix: .*\n    result\.plot"
        ):
            result([1, 2, 2], num_it=9).suggestion("minimum")

    def test_an_unknown_rule_is_an_error_that_guesses(self):
        with pytest.raises(
            LRFinderError, match=r"There is no rule 'steep'\. Did you mean `steepest`\?\nFix: name a rule"
        ):
            result([3, 2, 1]).suggestion("steep")


class TestPlot:
    def test_it_marks_the_suggestion(self):
        found = result([9, 8, 7, 6, 5, 4, 3, 2, 1], num_it=9)
        axes = found.plot().axes[0]
        losses, smoothed, mark = axes.lines
        assert axes.get_xscale() == "log"
        assert list(losses.get_xdata()) == list(found.lrs)
        assert list(smoothed.get_ydata()) == list(found.smoothed)
        assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([found.suggestion()], [6])
        assert mark.get_label() == f"valley: {found.suggestion():.2e}"

    def test_several_rules_make_several_marks(self):
        axes = result([5, 4, 1, 0.5, 9], num_it=9).plot("minimum", "steepest").axes[0]
        assert [line.get_label() for line in axes.lines[2:]] == ["minimum: 1.00e+02", "steepest: 1.00e+01"]

    def test_without_a_suggestion_there_are_only_the_losses(self):
        assert len(result([1, 2, 3], num_it=9).plot().axes[0].lines) == 2

    def test_a_rule_that_was_asked_for_and_cannot_suggest_is_an_error(self):
        with pytest.raises(LRFinderError, match="never falls"):
            result([1, 2, 3], num_it=9).plot("valley")

    def test_without_matplotlib_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(PlotError, match=r"pip install 'treadle-schedule\[plot\]'"):
            result([3, 2, 1]).plot()


def test_it_shows_the_range_and_why_it_ended():
    assert repr(result([3, 2, 1])) == "LRFinderResult(8 steps, 1 to 1e+07: the loss diverged)"
    assert repr(LRFinderResult((), (), (), 9, "the data ended")) == "LRFinderResult(no steps: the data ended)"
