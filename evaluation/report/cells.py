"""The tables as cells, for the terminal, the report and the paper alike."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from data.examples.regions import REGIONS
from evaluation.columns import (
    DAMAGE_METRICS,
    METRICS,
    NETWORK_METRICS,
    PIXEL_COLUMNS,
    PIXEL_METRICS,
    SET_METRICS,
    best,
    number,
)
from evaluation.damage.fidelity import fidelity
from evaluation.damage_classes import DAMAGE_REGIONS
from evaluation.estimate import Estimate
from evaluation.results import BEST, REAL, Evaluation, PatchResult, competes, named_rows

AREAS = ("inside", "outside")
NOTHING = Estimate(math.nan)


@dataclass(frozen=True)
class Cell:
    """One number of a table."""

    estimate: Estimate
    metric: str
    best: bool = False  # of its column, or of its row where methods are side by side

    @property
    def text(self) -> str:
        """The value."""
        return number(self.estimate.value, self.metric)

    @property
    def interval(self) -> str:
        """`low to high`; empty where there is none."""
        low, high = self.estimate.low, self.estimate.high
        return "" if math.isnan(low) else f"{number(low, self.metric)} to {number(high, self.metric)}"


@dataclass(frozen=True)
class Table:
    """Rows of cells under groups of columns."""

    title: str
    groups: list[tuple[str, str, list[str]]]  # name, note, its columns
    rows: list[tuple[str, str, list[Cell]]]  # key, name, cells
    lead: str = ""  # head of the first column


def pixel_table(evaluation: Evaluation, title: str = "Against the real post images") -> Table:
    """Rows by regions and pixel metrics."""
    summary = evaluation.summary()
    rows = [
        (row, name, [Cell(summary[row][region][metric], metric) for region, metric in PIXEL_COLUMNS])
        for row, name in evaluation.rows().items()
    ]
    heads = [METRICS[metric].name for metric in PIXEL_METRICS]
    nothing = [Cell(NOTHING, metric) for _, metric in PIXEL_COLUMNS]
    gaps = [(row, evaluation.named[row].name, nothing) for row in evaluation.absent]
    counted = {region: next(iter(summary.values()))[region]["mse"].patches for region in REGIONS}
    groups = [(region, f"{counted[region]:,} patch{'es' * (counted[region] != 1)}", heads) for region in REGIONS]
    return Table(title, groups, marked_columns(rows) + gaps)


def network_table(evaluation: Evaluation) -> Table | None:
    """Rows by the judgement of networks; None if there is no network at all."""
    metrics = [metric for metric in (*NETWORK_METRICS, *SET_METRICS) if metric not in evaluation.gaps]
    if not metrics:
        return None
    cells = {
        row: [Cell(_by_network(evaluation, row, metric), metric) for metric in metrics]
        for row in (*evaluation.rows(), REAL)
    }
    rows = marked_columns([(row, name, cells[row]) for row, name in evaluation.rows().items()])
    rows.append((REAL, "real post", cells[REAL]))
    return Table("As networks see them", [("whole", "", [METRICS[metric].name for metric in metrics])], rows)


def fidelity_table(evaluation: Evaluation) -> Table | None:
    """Rows by the score of the xView2 challenge; None without a damage model or labels."""
    found = fidelity(evaluation)
    if not found:
        return None
    cells = {row: [Cell(scores[metric], metric) for metric in DAMAGE_METRICS] for row, scores in found.items()}
    names = evaluation.rows()
    rows = marked_columns([(row, names[row], cells[row]) for row in found if row != REAL])
    rows.append((REAL, "real post", cells[REAL]))
    patches = cells[REAL][0].estimate.patches
    heads = [metric.name for metric in DAMAGE_METRICS.values()]
    return Table("Damage as a damage model sees it", [("xView2 score", f"{patches:,} labelled patches", heads)], rows)


def published_table(evaluation: Evaluation) -> Table | None:
    """Our checkpoints beside published numbers, over the metrics that these have; None if there are none."""
    known = {metric for one in evaluation.published for metric in one.values}
    metrics = [metric for metric in METRICS if metric in known]
    if not metrics:
        return None
    ours = [(row, evaluation.rows()[row], [_whole(evaluation, row, metric) for metric in metrics])
            for row in evaluation.trained]  # fmt: skip
    theirs = [
        ("published", f"{one.row} ({one.source})", [Estimate(one.values.get(metric, math.nan)) for metric in metrics])
        for one in evaluation.published
    ]
    rows = [
        (row, name, [Cell(found, metric) for found, metric in zip(estimates, metrics, strict=True)])
        for row, name, estimates in (*ours, *theirs)
    ]
    heads = [METRICS[metric].name for metric in metrics]
    return Table("Beside published numbers", [("whole", "as published", heads)], rows)


def group_table(evaluation: Evaluation, title: str, lead: str, parts: dict[str, list[PatchResult]]) -> Table:
    """MSE inside and outside the change: one row for each part of the patches, methods side by side."""
    rows = [
        (
            name,
            f"{name} ({len(patches):,})",
            [cell for area in AREAS for cell in _marked_row(evaluation, patches, area)],
        )
        for name, patches in parts.items()
    ]
    return Table(title, [(f"MSE {region}", "", _heads(evaluation)) for region in AREAS], rows, lead)


def damage_table(evaluation: Evaluation) -> Table | None:
    """MSE over the buildings of each damage class; None if no patch shows any."""
    rows = []
    for name in DAMAGE_REGIONS:
        cells = _marked_row(evaluation, evaluation.patches, name)
        if cells[0].estimate.patches:
            rows.append((name, f"{name} ({cells[0].estimate.patches:,})", cells))
    return Table("By damage class", [("MSE", "", _heads(evaluation))], rows, "buildings") if rows else None


def _heads(evaluation: Evaluation) -> list[str]:
    """Every method in a word: "copied", or what a restoring checkpoint is held against."""
    return [evaluation.said(method)[1] for method in evaluation.methods]


def all_tables(evaluation: Evaluation) -> list[Table]:
    """Every table that has something to say, in order."""
    tables = [
        pixel_table(evaluation),
        network_table(evaluation),
        fidelity_table(evaluation),
        published_table(evaluation),
        group_table(evaluation, "By disaster type", "disaster type", evaluation.by_disaster_type()),
        group_table(evaluation, "By event", "event", evaluation.by_event()),
        damage_table(evaluation),
    ]
    return [table for table in tables if table]


def gap_sentences(evaluation: Evaluation) -> list[str]:
    """Why numbers and rows are missing, metrics with the same reason together."""
    reasons: dict[str, list[str]] = {}
    for metric, reason in evaluation.gaps.items():
        reasons.setdefault(reason, []).append(METRICS[metric].name)
    metrics = [f"{', '.join(names)}: not measured, {reason}" for reason, names in reasons.items()]
    return [*metrics, *named_rows(evaluation.absent)]


def _whole(evaluation: Evaluation, row: str, metric: str) -> Estimate:
    if metric in DAMAGE_METRICS:
        return fidelity(evaluation).get(row, {}).get(metric, NOTHING)
    return _by_network(evaluation, row, metric)


def _by_network(evaluation: Evaluation, row: str, metric: str) -> Estimate:
    if metric not in SET_METRICS:
        return evaluation.estimate(evaluation.patches, row, "whole", metric)
    return NOTHING if row.endswith(BEST) else evaluation.sets.get(row, {}).get(metric, NOTHING)


def _marked_row(evaluation: Evaluation, patches: Sequence[PatchResult], region: str) -> list[Cell]:
    estimates = [evaluation.estimate(patches, method, region, "mse") for method in evaluation.methods]
    fair = [competes(method) for method in evaluation.methods]
    winner = best((one.value for one, is_fair in zip(estimates, fair, strict=True) if is_fair), "mse")
    return [Cell(one, "mse", is_fair and one.value == winner) for one, is_fair in zip(estimates, fair, strict=True)]


def marked_columns(rows: list[tuple[str, str, list[Cell]]]) -> list[tuple[str, str, list[Cell]]]:
    """Mark the best of each column; rows that know the truth do not compete."""
    fair = [cells for row, _, cells in rows if competes(row)]
    if not fair:
        return rows
    winners = [best((cell.estimate.value for cell in column), column[0].metric) for column in zip(*fair, strict=True)]
    marked = []
    for row, name, cells in rows:
        best_of = [competes(row) and cell.estimate.value == winner for cell, winner in zip(cells, winners, strict=True)]
        marked.append((row, name, [replace(cell, best=won) for cell, won in zip(cells, best_of, strict=True)]))
    return marked
