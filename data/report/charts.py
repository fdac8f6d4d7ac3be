"""The charts of the report: stacked bars and histograms, as HTML and inline SVG."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

# Damage classes in the order and colours of the whole page.
CLASS_COLOURS = {
    "no_damage": "#5fa777",
    "minor_damage": "#f0c24b",
    "major_damage": "#ec8b3a",
    "destroyed": "#c9302c",
    "un_classified": "#9aa1ab",
}
HISTOGRAM_BINS = 32


def legend() -> str:
    """The colours of the damage classes."""
    items = (
        f'<span><i class="k-{name}" style="background-color:{colour}"></i>{name.replace("_", "-")}</span>'
        for name, colour in CLASS_COLOURS.items()
    )
    return f'<p class="kinds">{"".join(items)}</p>'


def stacked_bar(counts: Mapping[str, int]) -> str:
    """Shares of the damage classes as one bar of full width."""
    total = sum(counts.values())
    if not total:
        return '<div class="bar"></div>'
    parts = (
        f'<i class="k-{name}" style="width:{100 * counts[name] / total:.2f}%;background-color:{colour}" '
        f'title="{name.replace("_", "-")}: {counts[name]:,}"></i>'
        for name, colour in CLASS_COLOURS.items()
        if counts[name]
    )
    words = ", ".join(f"{name.replace('_', '-')} {counts[name]:,}" for name in CLASS_COLOURS if counts[name])
    return f'<div class="bar" role="img" aria-label="{words}">{"".join(parts)}</div>'


def above_zero(title: str, what: str, values: Sequence[float], of: str = "patches") -> str:
    """The histogram of shares 0..1, many of which are 0: these are counted in the note only."""
    drawn = [value for value in values if value > 0]
    note = f"{what}; {len(values) - len(drawn):,} of {len(values):,} {of} are at 0 and not drawn"
    return histogram(title, note, drawn, 0, 1)


def histogram(title: str, note: str, values: Sequence[float], low: float, high: float) -> str:
    """Counts of values between `low` and `high`; larger ones are counted in the last bar."""
    heading = f"<h3>{escape(title)}</h3><p>{escape(note)}</p>"
    if not values:
        return f'<figure class="chart">{heading}<p class="none">nothing to show</p></figure>'
    counts, edges = np.histogram(np.clip(values, low, high), bins=HISTOGRAM_BINS, range=(low, high))
    width, height, base = 320, 110, 92
    step, scale = width / HISTOGRAM_BINS, 84 / counts.max()
    bars = "".join(
        f'<rect x="{i * step + 0.75:.2f}" y="{base - count * scale:.2f}" width="{step - 1.5:.2f}" '
        f'height="{count * scale:.2f}" rx="1"><title>{edges[i]:.3g} to {edges[i + 1]:.3g}: {count:,}</title></rect>'
        for i, count in enumerate(counts)
        if count
    )
    over = "+" if max(values) > high else ""
    ticks = (
        f'<text x="0" y="{height - 3}">{low:g}</text>'
        f'<text x="{width / 2}" y="{height - 3}" text-anchor="middle">{(low + high) / 2:g}</text>'
        f'<text x="{width}" y="{height - 3}" text-anchor="end">{high:g}{over}</text>'
    )
    axis = f'<line x1="0" y1="{base}" x2="{width}" y2="{base}"/>'
    label = f"{title}: {len(values):,} values, median {np.median(values):.3g}"
    svg = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, quote=True)}">'
    return f'<figure class="chart">{heading}{svg}{bars}{axis}{ticks}</svg></figure>'
