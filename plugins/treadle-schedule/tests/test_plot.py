import sys

import pytest
from treadle_schedule import Exp, PlotError, plot_schedule


def test_the_picture_shows_the_value_of_every_step():
    (line,) = plot_schedule(Exp(1.0, 0.5), 4).axes[0].lines
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    assert list(line.get_ydata()) == [1, 0.5, 0.25, 0.125]


def test_a_schedule_with_a_value_for_each_group_is_drawn_as_a_line_each():
    lines = plot_schedule(lambda t: (t, 10 * t), 3).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1, 2, 3], [10, 20, 30]]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"pip install 'treadle-schedule\[plot\]'"):
        plot_schedule(0.1, 3)
