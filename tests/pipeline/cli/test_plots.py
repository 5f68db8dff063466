"""Line plots in the terminal."""

import io
import math

import pytest
from rich.console import Console

from tfx_feeder.pipeline.cli.plots import Line, Plot, Plots


def draw(*charts: Plot, lengths=(100, 100, 100, 100), marks=(), width=44) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(Plots(charts, lengths, marks, "examples"))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def dots(lines: list[str]) -> list[list[int]]:
    """Returns the columns of each row in which something is drawn."""
    return [[at for at, sign in enumerate(line) if "⠀" < sign <= "⣿"] for line in lines]


def test_axes_are_labeled_with_the_ends_of_their_ranges():
    lines = draw(Plot("loss", [Line("", [4.0, 3.0, 2.0, 1.0])]))
    assert lines[1] == "loss"
    assert lines[2].startswith("4 ┤")
    assert lines[9].startswith("1 ┤")
    assert lines[-1].split() == ["0", "examples", "400"]


def test_a_falling_line_falls_from_left_to_right():
    rows = dots(draw(Plot("loss", [Line("", [4.0, 3.0, 2.0, 1.0])]))[2:10])
    firsts = [columns[0] for columns in rows]
    assert firsts == sorted(firsts)
    assert rows[-1][-1] == max(max(columns) for columns in rows)


def test_a_value_in_steps_holds_for_its_stretch():
    chart = Plot("batch", [Line("", [1, 1, 2, 2], steps=True)], height=2)
    top, bottom = dots(draw(chart)[2:4])
    assert bottom[0] < top[0]
    assert top[-1] - top[0] == pytest.approx(bottom[-1] - bottom[0], abs=2)


def test_each_value_in_steps_is_labeled():
    rates, sizes = Line("", [0.01, 0.005], steps=True), Line("", [32, 64, 128], steps=True)

    assert Plot("rate", [rates], height=3).ticks == {0: "0.01", 2: "0.005"}
    assert Plot("batch", [sizes], height=3, log=True).ticks == {0: "128", 1: "64", 2: "32"}
    assert Plot("loss", [Line("", [32, 64, 128])], height=3, log=True).ticks == {0: "128", 2: "32"}


def test_a_small_change_shows_and_a_large_one_fits():
    for sizes in ([32, 33], [1, 2**30]):
        chart = Plot("batch", [Line("", sizes, steps=True)], height=3, log=True)
        top, _, bottom = dots(draw(chart, lengths=(1, 1))[2:5])
        assert bottom[0] < top[-1]


def test_a_wide_range_is_logarithmic_and_says_so():
    chart = Plot("loss", [Line("", [100.0, 10.0, 1.0])])
    assert chart.level(10.0) == pytest.approx(0.5)
    assert "logarithmic" in draw(chart, lengths=(1, 1, 1))[1]
    assert not Plot("loss", [Line("", [100.0, 0.0])]).is_log


def test_what_is_not_finite_leaves_a_gap():
    rows = dots(draw(Plot("loss", [Line("", [1.0, math.nan, 1.0, 1.0])]))[2:10])
    drawn = {column for columns in rows for column in columns}
    assert 0 < len(drawn) < 20


def test_one_value_and_no_range_can_be_drawn():
    lines = draw(Plot("rate", [Line("", [0.0, 0.0], steps=True)]), lengths=(1, 1))
    assert lines[2].startswith("0 ┤")
    assert dots(lines[2:10])[1:] == [[]] * 7


def test_marks_and_legend_are_drawn():
    chart = Plot(
        "loss", [Line("training", [1.0, 2.0]), Line("validation", [2.0, 1.0], dotted=True)]
    )
    lines = draw(chart, lengths=(1, 1), marks=(1,))
    assert "training" in lines[1]
    assert "validation" in lines[1]
    assert any("┊" in line for line in lines)


def test_a_narrow_terminal_does_not_break_it():
    assert draw(Plot("loss", [Line("", [1.0, 2.0])]), lengths=(1, 1), width=8)
