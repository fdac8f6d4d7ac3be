"""`results.tex`: the tables for a paper; needs the booktabs package."""

from pathlib import Path

from data.storage import write_text
from evaluation.output import LATEX
from evaluation.report.cells import Cell, Table, all_tables, gap_sentences
from evaluation.report.origin import checkpoint_lines, origin
from evaluation.results import Evaluation

ESCAPED = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
)


def write_latex(folder: Path, evaluation: Evaluation) -> None:
    """Write results.tex: the same numbers as results.json; intervals are in the latter."""
    facts = [f"{name}: {value}" for name, value in origin(evaluation.settings) if name != "checkpoint"]
    said = (*checkpoint_lines(evaluation.settings), *facts, *gap_sentences(evaluation), *evaluation.notes)
    tables = [latex_table(table) for table in all_tables(evaluation)]
    write_text(folder / LATEX, "\n".join([*(f"% {sentence}" for sentence in said), "", *tables]))


def latex_table(table: Table) -> str:
    """One booktabs table; the best of each column in bold."""
    columns = sum(len(names) for _, _, names in table.groups)
    groups, rules, first = [], [], 2
    for name, note, names in table.groups:
        title = f"{name} ({note})" if note else name
        groups.append(f"\\multicolumn{{{len(names)}}}{{c}}{{{title.translate(ESCAPED)}}}")
        rules.append(f"\\cmidrule(lr){{{first}-{first + len(names) - 1}}}")
        first += len(names)
    heads = [table.lead, *(column for _, _, names in table.groups for column in names)]
    lines = [
        "\\begin{table}",
        f"\\caption{{{table.title.translate(ESCAPED)}}}",
        f"\\begin{{tabular}}{{l{'r' * columns}}}",
        "\\toprule",
        f" & {' & '.join(groups)} \\\\",
        "".join(rules),
        f"{' & '.join(head.translate(ESCAPED) for head in heads)} \\\\",
        "\\midrule",
        *(f"{' & '.join([name.translate(ESCAPED), *map(_cell, cells)])} \\\\" for _, name, cells in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
        "",
    ]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    if cell.text == "-":
        return "--"
    return f"\\textbf{{{cell.text}}}" if cell.best else cell.text
