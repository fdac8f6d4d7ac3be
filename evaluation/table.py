"""The results as plain text, for the terminal."""

import math
from collections.abc import Sequence

from data.regions import REGIONS
from evaluation.results import METHODS, Evaluation, Summaries, best, summaries

METRICS = {"mse": "MSE", "psnr": "PSNR", "ssim": "SSIM"}
LOWER_IS_BETTER = {"mse"}
AREAS = ("inside", "outside")


def render(evaluation: Evaluation) -> str:
    """Headline table, the same per disaster type, and what they mean in one sentence each."""
    lines = [*_headline(evaluation.summary()), "", *_by_type(evaluation), "", *verdict(evaluation)]
    return "\n".join(lines)


def verdict(evaluation: Evaluation) -> list[str]:
    """The answer to the question of the whole project, in words."""
    summary = evaluation.summary()
    sentences = []
    for region, where in (("inside", "Inside the changed area"), ("outside", "Outside of it")):
        ours, copy = (summary[method][region].mse for method in ("generated", "copy"))
        if math.isnan(ours):
            sentences.append(f"{where}: nothing to measure in these patches.")
        elif copy == 0:
            sentences.append(f"{where} the pre images equal the real ones; the generated ones have MSE {number(ours)}.")
        else:
            more = "less" if ours <= copy else "more"
            sentences.append(
                f"{where} the generated images have {abs(1 - ours / copy):.0%} {more} squared error than "
                "the pre images copied as they are."
            )
    return sentences


def number(value: float, metric: str = "mse") -> str:
    """One metric as text."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if metric == "psnr" else f"{value:.5f}" if metric == "mse" else f"{value:.3f}"


def _headline(summary: Summaries) -> list[str]:
    columns = [(region, metric) for region in REGIONS for metric in METRICS]
    winners = {
        (region, metric): best(
            (getattr(summary[method][region], metric) for method in METHODS), lowest=metric in LOWER_IS_BETTER
        )
        for region, metric in columns
    }
    head = ["", *(METRICS[metric] for _, metric in columns)]
    body = []
    for key, name in METHODS.items():
        values = {(region, metric): getattr(summary[key][region], metric) for region, metric in columns}
        body.append([name, *(_marked(value, winners[column], column[1]) for column, value in values.items())])
    groups = [f"{region} ({_patches(summary['copy'][region].patches)})" for region in REGIONS]
    return [*_aligned(groups, len(METRICS), head, body), "* best of its column; MSE: lower is better, others: higher"]


def _by_type(evaluation: Evaluation) -> list[str]:
    head = ["disaster type", "patches", *[key for _ in AREAS for key in METHODS]]
    body = []
    for name, patches in evaluation.by_disaster_type().items():
        summary = summaries(patches)
        row = [name, str(len(patches))]
        for region in AREAS:
            values = {method: summary[method][region].mse for method in METHODS}
            winner = best(values.values(), lowest=True)
            row += [_marked(value, winner, "mse") for value in values.values()]
        body.append(row)
    return _aligned([f"MSE {region}" for region in AREAS], len(METHODS), head, body)


def _marked(value: float, winner: float, metric: str) -> str:
    return number(value, metric) + ("*" if value == winner else " ")


def _patches(count: int) -> str:
    return f"{count} patch{'es' * (count != 1)}"


def _aligned(groups: Sequence[str], per_group: int, head: list[str], body: list[list[str]]) -> list[str]:
    """Columns as wide as they need; a line of group names over the last `len(groups) * per_group` columns."""
    rows = [_right_of_mark(row) for row in [head, *body]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    first = len(head) - len(groups) * per_group
    for g, name in enumerate(groups):  # room for the group's name
        last = first + (g + 1) * per_group - 1
        widths[last] += max(0, len(name) + 2 - sum(widths[last - per_group + 1 : last + 1]) - 2 * (per_group - 1))
    text = ["  ".join(_pad(row[i], width, i == 0) for i, width in enumerate(widths)) for row in rows]
    over = " " * (sum(widths[:first]) + 2 * (first - 1))
    for g, name in enumerate(groups):
        start = first + g * per_group
        over += "  " + name.center(sum(widths[start : start + per_group]) + 2 * (per_group - 1))
    return [over.rstrip(), *(line.rstrip() for line in text)]


def _right_of_mark(row: list[str]) -> list[str]:
    """Leave the place of the `*` free in cells without one."""
    return [row[0], *(cell if cell.endswith("*") else f"{cell.rstrip()} " for cell in row[1:])]


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
