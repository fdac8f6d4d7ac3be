"""The two tables of the report as HTML."""

from html import escape
from itertools import product

from data.regions import REGIONS
from evaluation.results import METHODS, Evaluation, best, summaries
from evaluation.table import AREAS, LOWER_IS_BETTER, METRICS, number

SHORT_METHODS = {"generated": "generated", "copy": "copy", "base": "base"}


def headline_table(evaluation: Evaluation) -> str:
    """Methods by regions and metrics; the best of each column is marked."""
    summary = evaluation.summary()
    groups = [(region, f"{summary['copy'][region].patches:,} patches") for region in REGIONS]
    rows = []
    for key, name in METHODS.items():
        cells = []
        for region, metric in product(REGIONS, METRICS):
            column = [getattr(summary[method][region], metric) for method in METHODS]
            winner = best(column, lowest=metric in LOWER_IS_BETTER)
            cells.append(_cell(getattr(summary[key][region], metric), winner, metric, first=metric == "mse"))
        rows.append(f'<tr class="{key}"><th>{escape(name)}</th>{"".join(cells)}</tr>')
    return _table(groups, len(METRICS), list(METRICS.values()), [""], rows)


def disaster_table(evaluation: Evaluation) -> str:
    """MSE of each method per disaster type, inside and outside the changed area."""
    rows = []
    for name, patches in evaluation.by_disaster_type().items():
        summary = summaries(patches)
        cells = [f"<td>{len(patches):,}</td>"]
        for region in AREAS:
            column = [summary[method][region].mse for method in METHODS]
            winner = best(column, lowest=True)
            cells += [_cell(value, winner, "mse", first=i == 0) for i, value in enumerate(column)]
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    groups = [(f"MSE {region}", "") for region in AREAS]
    return _table(groups, len(METHODS), list(SHORT_METHODS.values()), ["disaster type", "patches"], rows)


def _cell(value: float, winner: float, metric: str, *, first: bool) -> str:
    classes = " ".join(["best"] * (value == winner) + ["first"] * first)
    return f'<td class="{classes}">{number(value, metric)}</td>'


def _table(groups: list[tuple[str, str]], per_group: int, columns: list[str], lead: list[str], rows: list[str]) -> str:
    over = "".join(f'<th class="first" colspan="{per_group}">{name}<small>{note}</small></th>' for name, note in groups)
    heads = "".join(f"<th>{name}</th>" for name in lead)
    for _ in groups:
        heads += "".join(f'<th class="{"first" if i == 0 else ""}">{name}</th>' for i, name in enumerate(columns))
    return (
        f'<div class="card"><table><thead><tr class="groups"><th colspan="{len(lead)}"></th>{over}</tr>'
        f"<tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
