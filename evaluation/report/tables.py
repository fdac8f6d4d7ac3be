"""The tables of the report as HTML."""

from html import escape

from evaluation.report.cells import Cell, Table


def html_table(table: Table) -> str:
    """Values with their intervals; the best of each column is marked."""
    over = "".join(
        f'<th class="first" colspan="{len(names)}">{escape(name)}<small>{escape(note)}</small></th>'
        for name, note, names in table.groups
    )
    heads = f"<th>{escape(table.lead)}</th>" + "".join(
        f'<th class="{"first" if i == 0 else ""}">{escape(name)}</th>'
        for _, _, names in table.groups
        for i, name in enumerate(names)
    )
    starts = {sum(len(names) for _, _, names in table.groups[:i]) for i in range(len(table.groups))}
    rows = "".join(
        f'<tr class="{escape(key.partition(" ")[0])}"><th>{escape(name)}</th>'
        f"{''.join(_cell(cell, first=i in starts) for i, cell in enumerate(cells))}</tr>"
        for key, name, cells in table.rows
    )
    return (
        f'<div class="card"><table><thead><tr class="groups"><th></th>{over}</tr>'
        f"<tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell, *, first: bool) -> str:
    classes = " ".join(["best"] * cell.best + ["first"] * first)
    interval = f"<small>{cell.interval}</small>" if cell.interval else ""
    return f'<td class="{classes}">{cell.text}{" ✓" * cell.best}{interval}</td>'
