"""Charts whose coordinates a reader can check by hand."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.pages.document import document, figures, html_table
from data.pages.lines import BASE, LEFT, MOST_POINTS, RIGHT, TOP, Line, line_chart, short, thinned, ticks, told_apart

NUMBER = st.floats(-1e12, 1e12, allow_nan=False).map(lambda value: float(f"{value:.6g}"))


@given(NUMBER, NUMBER)
def test_ticks_enclose_the_values(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    span = found[-1] - found[0]
    assert found[0] <= low + 1e-6 * span and high - 1e-6 * span <= found[-1] and 2 <= len(found) <= 8
    assert np.allclose(np.diff(found), found[1] - found[0], rtol=1e-6)


def test_ticks_are_round() -> None:
    assert ticks(0.02, 0.98) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 2000) == [0, 500, 1000, 1500, 2000]
    assert ticks(3, 3) == [0, 2, 4, 6] or ticks(3, 3)[0] < 3 < ticks(3, 3)[-1]


def test_a_line_lies_where_its_values_are() -> None:
    """0..10 across, 0..1 up: the corners of the axes and their middle."""
    html = line_chart("t", "n", [Line("a", [(0, 0.0), (5, 0.5), (10, 1.0)])], marks=[5, 99])
    points = re.search(r'<path d="M([^"]+)"/><circle', html)
    assert points and [tuple(map(float, point.split())) for point in points[1].split("L")] == [
        (LEFT, BASE), ((LEFT + RIGHT) / 2, (BASE + TOP) / 2), (RIGHT, TOP)
    ]  # fmt: skip
    assert html.count('class="mark"') == 1 and f'x1="{(LEFT + RIGHT) / 2:.1f}"' in html
    assert 'aria-label="t: at 10 a 1"' in html


def test_lines_differ_without_colours() -> None:
    lines = [Line(str(number), [(0, number), (1, number)]) for number in range(12)]
    styles = re.findall(r'<g class="(c\d d\d)"><path d="M\d\d', line_chart("t", "n", lines))
    assert len(styles) == len(set(styles)) == 12


def test_one_point_and_none() -> None:
    assert "<circle" in line_chart("t", "n", [Line("a", [(7, 0.0)])])
    assert "nothing to show yet" in line_chart("t", "n", [Line("a", [])])


def test_long_lines_are_thinned_to_means() -> None:
    points = [(float(x), float(x % 2)) for x in range(10 * MOST_POINTS)]
    found = thinned(points)
    assert len(found) == MOST_POINTS and found[-1][0] == points[-1][0]
    assert found[0] == (4.5, 0.5) and thinned(points[:5]) == points[:5]


def test_the_ticks_of_a_small_span_differ() -> None:
    """Three digits would say 13.5 four times."""
    assert told_apart([13.46, 13.5, 13.54, 13.58]) == ["13.46", "13.5", "13.54", "13.58"]
    assert told_apart([0, 500, 1000, 1500]) == ["0", "500", "1,000", "1,500"]
    assert told_apart([20000.0, 20000.5]) == ["20000", "20000.5"]


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0.12345, 1e-5, 1234.5, 20000, 16.0, -0.5)] == [
        "0.123", "1e-05", "1,234", "20,000", "16", "-0.5"
    ]  # fmt: skip


def test_words_are_escaped() -> None:
    mark = '<i>&"'
    page = document(mark, [line_chart(mark, mark, [Line(mark, [(0, 1)])]), figures([(mark, mark)])])
    page += html_table([mark], [])
    assert "<i>" not in page and page.count("&lt;i&gt;&amp;&quot;") == 9
