"""The results as plain text, for the terminal."""

import math
from dataclasses import replace

from data.examples.regions import REGIONS
from evaluation.columns import number
from evaluation.estimate import FEWEST_CLUSTERS, Estimate
from evaluation.report.cells import AREAS, Table, all_tables, gap_sentences
from evaluation.results import Evaluation


def render(evaluation: Evaluation) -> str:
    """Every table, what is missing and why, and what it means in one sentence each."""
    lines: list[str] = []
    for table in all_tables(evaluation):
        lines += [table.title, *aligned(table), ""]
    lines.append("* best row without access to the truth; MSE, LPIPS, FID, KID: lower is better, others: higher")
    return "\n".join([*lines, *gap_sentences(evaluation), *evaluation.notes, "", *verdict(evaluation)])


def verdict(evaluation: Evaluation) -> list[str]:
    """The answer to the question of the whole project, in words."""
    said = [
        against(evaluation, pair, region, evaluation.estimate(evaluation.patches, pair[1], region, "mse"), of[region])
        for pair, of in differences(evaluation).items()
        for region in AREAS
    ]
    return [*dict.fromkeys(said), *_by_disaster_type(evaluation)]  # too few scenes are too few for all


def _by_disaster_type(evaluation: Evaluation) -> list[str]:
    """Where generating won inside the change, for each that is held against copying; nothing if there is one type."""
    against_copy, of_type = [made for made, than in evaluation.pairs if than == "copy"], evaluation.by_disaster_type()
    said = []
    for made in against_copy:
        found = {
            name: replace(evaluation, patches=patches).less(made, "copy", "inside").value
            for name, patches in of_type.items()
        }
        won = [name for name, less in found.items() if less < 0]
        lost = [name for name, less in found.items() if less >= 0]  # neither: nothing changed
        which = f"of {evaluation.named[made].name}, " if len(against_copy) > 1 else ""
        copying = evaluation.said("copy")[2]
        if len(won + lost) > 1:
            said.append(
                f"By disaster type, {which}without intervals: less error than {copying} for "
                f"{', '.join(won) or 'none'}; more for {', '.join(lost) or 'none'}."
            )
    return said


def differences(evaluation: Evaluation) -> dict[tuple[str, str], dict[str, Estimate]]:
    """Pair of methods -> region -> paired difference of squared error."""
    return {pair: {region: evaluation.less(*pair, region) for region in REGIONS} for pair in evaluation.pairs}


def interval_sentence(evaluation: Evaluation) -> str:
    """How the intervals of the tables were computed."""
    over = {"scenes": "scenes", "events": "events (over the scenes of an event in tables of single events)"}
    return (
        f"Intervals: 95 %, bootstrap over {over[evaluation.drawn]}, resampled with all their patches and samples. "
        f"They refer to other {evaluation.drawn} of the same kind. None for fewer than {FEWEST_CLUSTERS}, "
        "nor for FID, KID and IS."
    )


def against(evaluation: Evaluation, pair: tuple[str, str], region: str, other: Estimate, less: Estimate) -> str:
    """Whether one method is closer to the truth than another; no verdict unless the paired interval excludes 0.

    Args:
        evaluation: which tells the words, and what the interval resamples.
        pair: the method, and the one that it is held against.
        region: inside or outside.
        other: squared error of the latter.
        less: that of the former minus that of the latter, paired.
    """
    where, drawn = getattr(evaluation.task, region), evaluation.drawn
    (ours, row, _), (theirs, than, _) = map(evaluation.said, pair)
    if math.isnan(less.value):
        return f"{where}: nothing to measure in these patches."
    if math.isnan(less.low):
        return f"{where}: no verdict, an interval needs at least {FEWEST_CLUSTERS} {drawn}; there are {less.clusters}."
    interval = f"{number(less.value)} ({number(less.low)} to {number(less.high)}, 95 % over {less.clusters} {drawn})"
    if not less.decided:
        return f"{where}: no verdict, {row} minus {than} squared error is {interval}, which contains 0."
    share = f"{abs(less.value / other.value):.0%} " if other.value else ""
    more = "less" if less.value < 0 else "more"
    return f"{where} {ours} have {share}{more} squared error than {theirs}: {row} minus {than} is {interval}."


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
