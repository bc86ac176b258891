"""Places on the page: inside of it whatever the figures, round at the axis, and honest about limits."""

from __future__ import annotations

import re

import pytest

from runner.judgement.report.charts import Axis, moment, percent, series_row, short
from runner.judgement.report.clocks import Bar, clock_panel
from runner.judgement.report.markup import Markup, clean, shown, table, tag
from runner.judgement.report.series import COLUMNS, Column, Series


def test_nothing_stands_outside_of_the_plot() -> None:
    """Moments before and behind the run are at its edges; a run without any length has an axis, too."""
    axis = Axis(50.0)
    assert [axis.x(at_s) for at_s in (-1.0, 0.0, 12.5, 50.0, 99.0)] == ["0%", "0%", "25%", "100%", "100%"]
    assert axis.width(-10.0, 25.0) == "50%"
    assert axis.width(40.0, 30.0) == "0%"
    assert Axis(0.0).x(0.0) == "0%" and Axis(0.0).ticks() == [0.0]
    assert percent(1 / 3) == "33.333%"


@pytest.mark.parametrize("end_s", [0.3, 5.2, 99.9, 3600.0, 86_400.0, 86_400.0 * 30])
def test_the_axis_has_few_and_round_marks(end_s: float) -> None:
    """From the first to at most the ninth, evenly, and none behind the end."""
    ticks = Axis(end_s).ticks()
    assert 2 <= len(ticks) <= 9 and ticks[0] == 0 and ticks[-1] <= end_s
    assert moment(86_399.6) == "24:00:00" and moment(61.5) == "61.50 s" and moment(None) == "–"


@pytest.mark.parametrize(("values", "low", "high"), [((0.0, 0.0), "0", "1"), ((2.0, 61.4), "0", "80"), ((-3.0, 5.0), "-3", "5")])
def test_a_scale_begins_at_zero_and_ends_round(values: tuple[float, float], low: str, high: str) -> None:
    """The highest value fits, the line begins and ends where its values are, and one value alone is a dot."""
    both = Series("x", "X", "", True, [[Column(0, *values, 0.0, 2)], [Column(7, 1.0, 1.0, 1.0, 1)]])
    drawn = series_row(1, both)
    assert f'data-low="{low}" data-high="{high}"' in drawn
    (path,) = re.findall(r' d="([^"]+)"', drawn)
    assert path.endswith("h0") and path.count("M") == 2
    assert all(0 <= int(y) <= 100 for y in re.findall(r"\d+ (\d+)", path))


@pytest.mark.parametrize(("values", "low", "high"), [((79.0, 84.0), "75", "85"), ((45.0, 45.0), "45", "50"), ((-3.0, 21.0), "-5", "25")])
def test_a_scale_of_temperatures_shows_some_kelvin(values: tuple[float, float], low: str, high: str) -> None:
    """From a multiple of five to another: a die that throttles moves by a few. What never changes has one figure."""
    drawn = series_row(1, Series("x", "X", "°C", True, [[Column(0, *values, 0.0, 2)]]), [(values[1], "here"), (values[1] + 50, "beyond")])
    assert f'data-low="{low}" data-high="{high}"' in drawn
    assert ("45 °C<" in drawn and "45–45" not in drawn) == (values == (45.0, 45.0))
    assert "here" in drawn and "beyond" not in drawn and drawn.count('class="level"') == 1


def test_a_line_of_all_columns_is_drawn_to_its_end() -> None:
    """Two points in each of a thousand columns, whatever the length of the path."""
    columns = [Column(at, float(at % 3), 5.0, 0.0, 2) for at in range(COLUMNS)]
    (path,) = re.findall(r' d="([^"]+)"', series_row(1, Series("x", "X", "", True, [columns])))
    assert len(path.split(" ")) == 4 * COLUMNS
    assert path.startswith("M0 100 0 0 1 80") and path.endswith("999 100 999 0")


def test_a_clock_is_judged_less_the_wait_of_the_host() -> None:
    """Six seconds of which the host took two keep a limit of five; of which it took none they do not."""
    bars = [Bar("a/1", 6.0, 2.0), Bar("a/2", 6.0, 0.0), Bar("a/3", None, 0.0)]
    drawn = clock_panel("Running again", "limit 5 s", 5.0, bars)
    assert "slowest 6.00 s, 1 over the limit" in drawn
    assert drawn.count("too late") == drawn.count('class="over"') == 1
    assert "a/1: 6.00 s, of that 2.00 s host wait<" in drawn and "a/3: not reached" in drawn
    assert "over the limit" not in clock_panel("Board boot", "not judged", None, bars)


def test_what_is_no_markup_is_escaped_once() -> None:
    """In text and in attributes, nested or not; control characters and line feeds are spaces, long words end in an ellipsis."""
    assert tag("p", "<b>", ["&", tag("i", "x")], title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;<i>x</i></p>'
    assert tag("p", Markup("<b></b>"), None, 0) == "<p><b></b>0</p>"
    assert clean("a\x1b[1m\nb\u202e") == "a [1m b "
    assert clean("x" * 9, 5) == "xxxx…"
    assert [shown(value) for value in (None, True, False, 1234.5, 7)] == ["–", "yes", "no", "1,234.50", "7"]
    assert '<th scope="row">&lt;</th><td class="n">–</td><td>yes</td>' in table("t", ("a", "b", "c"), [("<", None, True)])
    assert [short(value) for value in (0.0, 1e-6, 0.0518, 61.44, 1234.5)] == ["0", "<0.001", "0.0518", "61.4", "1,234"]
