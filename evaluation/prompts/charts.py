"""The plots of a prompt study, as inline SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from evaluation.estimate import Estimate
from evaluation.prompts.answers import DIRECTIONS

COLOURS = {"generated": "#2f66a3", "base": "#c9772c", "copy": "#8a94a3"}
WIDTH, HEIGHT, LEFT, BASE, TOP = 360, 210, 44, 176, 14
MARGIN, ROW = 76, 30  # of a matrix: for the words of its rows; the height of a row


def curve(title: str, lines: Mapping[str, Mapping[str, Estimate]], words: Sequence[str], unit: float = 1.0) -> str:
    """Words from left to right, one line with intervals for each method, as a figure.

    Args:
        title: above it.
        lines: method -> word -> value.
        words: in their order.
        unit: values are shown as multiples of it; 0.01 = percent.
    """
    highest = _largest(end for of in lines.values() for word in words for end in (of[word].value, of[word].high))
    step = (WIDTH - LEFT) / len(words)
    parts = [_axis(highest / unit)]
    for i, word in enumerate(words):
        x = LEFT + (i + 0.5) * step
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 16}" text-anchor="middle">{escape(word)}</text>')
    for number, (method, of) in enumerate(lines.items()):
        shift = (number - (len(lines) - 1) / 2) * 5  # so that intervals do not hide each other
        points = [(LEFT + (i + 0.5) * step + shift, _y(of[word].value / highest)) for i, word in enumerate(words)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        marks = "".join(_mark(x, y, of[word], highest) for (x, y), word in zip(points, words, strict=True))
        parts.append(f'<g class="{method}"><path d="{path}"/>{marks}</g>')
    return _figure(title, f"0 0 {WIDTH} {HEIGHT}", parts)


def rose(title: str, method: str, east: Mapping[str, Estimate], north: Mapping[str, Estimate]) -> str:
    """Where the centroid of the difference lies for each compass word, against the word's direction, as a figure.

    The scale is such that the farthest point touches the ring, whose radius is printed below.
    """
    reach = _largest(abs(way[word].value) for word in DIRECTIONS for way in (east, north))
    parts = ['<circle cx="0" cy="0" r="70"/><circle cx="0" cy="0" r="1.5"/>']
    for word, (x, y) in DIRECTIONS.items():
        parts.append(f'<line x1="{62 * x:.1f}" y1="{-62 * y:.1f}" x2="{70 * x:.1f}" y2="{-70 * y:.1f}"/>')
        parts.append(f'<text x="{82 * x:.1f}" y="{3 - 80 * y:.1f}" text-anchor="middle">{_short(word)}</text>')
        if math.isnan(east[word].value):
            continue  # nothing differs in any image of this word
        at_x, at_y = 62 * east[word].value / reach, -62 * north[word].value / reach
        parts.append(
            f'<g class="{method}"><circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="3"/>'
            f'<text x="{at_x + 4:.1f}" y="{at_y + 3:.1f}">{_short(word)}</text></g>'
        )
    parts.append(f'<text x="0" y="104" text-anchor="middle">ring: {113 * reach:.2g} % of the side</text>')
    return _figure(title, "-100 -96 200 206", parts)


def matrix(title: str, method: str, words: Sequence[str], shares: Sequence[Sequence[float]]) -> str:
    """Shares, 0..1, of a word for each row against one for each column, in percent, as a figure.

    Args:
        title: above it.
        method: whose colour it has, the darker the larger the share.
        words: of rows and columns.
        shares: row by row.
    """
    side = (WIDTH - MARGIN) / len(words)
    high = min(side, ROW)
    parts = []
    for column, word in enumerate(words):
        x = MARGIN + (column + 0.5) * side
        parts.append(f'<text x="{x:.1f}" y="12" text-anchor="middle">{escape(_short(word))}</text>')
    for row, word in enumerate(words):
        y = 18 + row * high
        parts.append(f'<text x="{MARGIN - 6}" y="{y + high / 2 + 3:.1f}" text-anchor="end">{escape(word)}</text>')
        for column, share in enumerate(shares[row]):
            x, middle, text = MARGIN + column * side, y + high / 2 + 3, f"{100 * share:.0f}"
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{side - 2:.1f}" height="{high - 2:.1f}" '
                f'fill="{COLOURS[method]}" fill-opacity="{0.5 * share:.2f}"/>'
                f'<text class="share" x="{x + side / 2 - 1:.1f}" y="{middle:.1f}" text-anchor="middle">{text}</text>'
            )
    return _figure(title, f"0 0 {WIDTH} {22 + high * len(words):.0f}", parts)


def legend(names: Mapping[str, str]) -> str:
    """Colours of the methods."""
    items = (f'<span><i style="background:{COLOURS[key]}"></i>{escape(name)}</span>' for key, name in names.items())
    return f'<p class="legend">{"".join(items)}</p>'


def _figure(title: str, box: str, parts: Sequence[str]) -> str:
    return f'<figure class="plot"><h3>{escape(title)}</h3><svg viewBox="{box}">{"".join(parts)}</svg></figure>'


def _largest(values: Iterable[float]) -> float:
    """The largest, ignoring NaN; 1 if none is above 0."""
    return max((value for value in values if value > 0), default=1.0)


def _y(share: float) -> float:
    return BASE - share * (BASE - TOP)


def _axis(highest: float) -> str:
    lines = ""
    for share in (0, 0.5, 1):
        lines += f'<line x1="{LEFT}" y1="{_y(share)}" x2="{WIDTH}" y2="{_y(share)}"/>'
        lines += f'<text x="{LEFT - 5}" y="{_y(share) + 3}" text-anchor="end">{highest * share:.3g}</text>'
    return lines


def _mark(x: float, y: float, value: Estimate, highest: float) -> str:
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
    if math.isnan(value.low):
        return dot
    low, high = _y(max(0.0, value.low) / highest), _y(value.high / highest)
    return dot + f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>'


def _short(word: str) -> str:
    """A direction by its letters; any other word as it is."""
    return "".join(part[0].upper() for part in word.split("-")) if word in DIRECTIONS else word
