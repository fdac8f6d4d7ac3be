"""The results as plain text, for the terminal."""

import math

from evaluation.cells import Table, all_tables, gap_sentences
from evaluation.columns import number
from evaluation.results import Evaluation


def render(evaluation: Evaluation) -> str:
    """Every table, what is missing and why, and what it means in one sentence each."""
    lines: list[str] = []
    for table in all_tables(evaluation):
        lines += [table.title, *aligned(table), ""]
    lines.append("* best of the fair rows; MSE, LPIPS, FID, KID: lower is better, others: higher")
    return "\n".join([*lines, *gap_sentences(evaluation), *evaluation.notes, "", *verdict(evaluation)])


def verdict(evaluation: Evaluation) -> list[str]:
    """The answer to the question of the whole project, in words."""
    if not {"generated", "copy"} <= set(evaluation.methods):
        return []
    summary = evaluation.summary()
    sentences = []
    for region, where in (("inside", "Inside the changed area"), ("outside", "Outside of it")):
        ours, copy = (summary[method][region]["mse"].value for method in ("generated", "copy"))
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


def aligned(table: Table) -> list[str]:
    """Columns as wide as they need, under the names of their groups."""
    heads = [table.lead, *(f"{column} " for _, _, columns in table.groups for column in columns)]
    body = [[name, *(cell.text + ("*" if cell.best else " ") for cell in cells)] for _, name, cells in table.rows]
    widths = [max(len(row[i]) for row in (heads, *body)) for i in range(len(heads))]
    first = 1
    over = " " * widths[0]
    for name, note, columns in table.groups:
        title = f"{name} ({note})" if note else name
        last = first + len(columns)
        # Room for the group's name.
        widths[last - 1] += max(0, len(title) + 2 - sum(widths[first:last]) - 2 * (len(columns) - 1))
        over += "  " + title.center(sum(widths[first:last]) + 2 * (len(columns) - 1))
        first = last
    lines = ["  ".join(_pad(row[i], width, i == 0) for i, width in enumerate(widths)) for row in (heads, *body)]
    return [over.rstrip(), *(line.rstrip() for line in lines)]


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)
