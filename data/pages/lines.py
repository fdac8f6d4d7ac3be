"""Line charts as inline SVG. Lines differ in colour and in dashes, so that they can be told apart without colours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT, LEFT, BASE, TOP, RIGHT = 360, 200, 50, 172, 10, 352
MOST_POINTS = 240  # drawn of a line; beyond, each stands for the mean of its neighbours
LEAST_SPAN = 1e-300  # of an axis; what is smaller cannot be divided
MARKED_UP_TO = 30  # points of a line that are drawn as dots
COLOURS, DASHES = 6, 4  # classes of style.css
Points = Sequence[tuple[float, float]]
Place = Callable[[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """Points by x; others than finite ones are left out by whoever reads them."""

    name: str
    points: Points
    colour: int | None = None  # 0..5, see style.css; by default that of its place


def line_chart(title: str, note: str, lines: Sequence[Line], marks: Sequence[float] = (), *, zero: bool = False) -> str:
    """A figure with its legend below: every line with its last value.

    Args:
        title: plain text.
        note: plain text, what is drawn and in which unit.
        lines: those without points are left out.
        marks: x of vertical lines, such as the steps at which a run was resumed.
        zero: whether 0 is on the axis even if no value is near.
    """
    heading = f"<h3>{escape(title)}</h3><p>{escape(note)}</p>"
    lines = [line for line in lines if line.points]
    if not lines:
        return f'<figure class="chart">{heading}<p class="none">nothing to show yet</p></figure>'
    drawn = [thinned(line.points) for line in lines]
    xs, ys = ([point[axis] for points in drawn for point in points] for axis in (0, 1))
    across, up = ticks(min(xs), max(xs)), ticks(min([*ys, 0.0] if zero else ys), max([*ys, 0.0] if zero else ys))
    low, high = min(xs), max(max(xs), min(xs) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + (x - low) / (high - low) * (RIGHT - LEFT),
            BASE - (y - up[0]) / (up[-1] - up[0]) * (BASE - TOP),
        )

    parts = [_axes(place, [x for x in across if low <= x <= high], up, low)]
    parts += [
        f'<line class="mark" x1="{place(x, 0)[0]:.1f}" y1="{TOP}" x2="{place(x, 0)[0]:.1f}" y2="{BASE}">'
        f"<title>{x:,g}</title></line>"
        for x in marks
        if low <= x <= high
    ]
    styles = [_style(number, line) for number, line in enumerate(lines)]
    parts += [_drawn(style, [place(*each) for each in points]) for style, points in zip(styles, drawn, strict=True)]
    last = [f"{line.name} {short(line.points[-1][1])}" for line in lines]
    label = escape(f"{title}: at {lines[0].points[-1][0]:,g} {', '.join(last)}", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
    return f'<figure class="chart">{heading}{svg}{_legend(styles, lines)}</figure>'


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most MOST_POINTS, each the mean of as many neighbours; the last stays at the end."""
    if len(points) <= MOST_POINTS:
        return list(points)
    parts = np.array_split(np.array(points, dtype=np.float64), MOST_POINTS)
    means = [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
    return [*means[:-1], (float(points[-1][0]), means[-1][1])]


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round values, the first not above `low`, the last not below `high`."""
    span = high - low
    if span < LEAST_SPAN:
        span = abs(high) if abs(high) >= LEAST_SPAN else 1.0
        low, high = low - span / 2, high + span / 2
    power = 10.0 ** math.floor(math.log10(span / 3))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if (high - low) / (power * factor) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def short(value: float, digits: int = 3) -> str:
    """Three significant digits, or as many as are asked for; large numbers whole, with separators."""
    return f"{value:,.0f}" if abs(value) >= 1000 and digits == 3 else f"{value:.{digits}g}"


def told_apart(values: Sequence[float]) -> list[str]:
    """Different numbers, each with as many digits as it takes that no two look the same."""
    words: list[str] = []
    for digits in range(3, 13):  # ticks have twelve
        words = [short(value, digits) for value in values]
        if len({*words}) == len(values):
            break
    return words


def _axes(place: Place, across: Sequence[float], up: Sequence[float], low: float) -> str:
    lines = ""
    for value, words in zip(up, told_apart(up), strict=True):
        y = place(low, value)[1]
        kind = ' class="zero"' if value == 0 else ""
        lines += f'<line{kind} x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}"/>'
        lines += f'<text x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{words}</text>'
    for value in across:
        x = place(value, up[0])[0]
        anchor = "end" if x > RIGHT - 16 else "middle"
        lines += f'<text x="{x:.1f}" y="{BASE + 15}" text-anchor="{anchor}">{value:,g}</text>'
    return lines


def _style(number: int, line: Line) -> str:
    return f"c{(number if line.colour is None else line.colour) % COLOURS} d{number % DASHES}"


def _drawn(style: str, points: Points) -> str:
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points if len(points) <= MARKED_UP_TO)
    return f'<g class="{style}"><path d="{path}"/>{dots}</g>'


def _legend(styles: Sequence[str], lines: Sequence[Line]) -> str:
    items = "".join(
        f'<span><svg viewBox="0 0 26 8" aria-hidden="true"><g class="{style}"><path d="M0 4L26 4"/></g></svg>'
        f"{escape(line.name)} <b>{short(line.points[-1][1])}</b></span>"
        for style, line in zip(styles, lines, strict=True)
    )
    return f'<p class="legend">{items}</p>'
