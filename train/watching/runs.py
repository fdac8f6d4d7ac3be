"""`pre2post runs`: the report of one run, or several runs compared in one table and one page.

On a laptop: `pre2post runs runs/one runs/two`
"""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from data.pages.document import document, html_table
from data.pages.lines import line_chart, short
from data.storage import whole
from train.errors import ConfigError
from train.saving.run_files import CONFIG
from train.watching.history import History, read_run, read_sheets
from train.watching.run_page import INSIDE, PAGE, STYLE, drift_lines, picture, write_run_page

MADE_BY = "pre2post runs"
NOT_COMPARED = ("run.out", "run.resume", "run.go_back", "run.resume_allow")
SAME_VALIDATION = (  # settings that validation numbers can only be compared with where they are equal
    "data.dataset",
    "data.resolution",
    "data.direction",
    "model.base",
    "validation.split",
    "validation.examples",
    "validation.timesteps",
)
CHARTS = (
    ("Training loss", "loss", "as minimised"),
    ("Validation loss", "validation_loss", "unweighted, on held-out patches"),
    ("Control gap", "control_gap", "loss without the ControlNet minus loss with it"),
    ("PSNR inside the change", "psnr_inside", f"dB. {INSIDE}"),
    ("PSNR outside of it", "psnr_outside", "dB"),
    ("Learning rate", "learning_rate", "per optimizer step"),
    ("Speed", "examples_per_second", "examples per second"),
)


def runs(folders: list[Path], *, out: Path = Path("runs.html")) -> None:
    """Compare training runs: a table here, and curves, settings and pictures side by side in one page.

    Of a single run it writes that run's own report.html again, for example after a kill.

    Args:
        folders: Run folders (`run.out`), or folders that hold some.
        out: The page of the comparison; one that this command wrote before is replaced.
    """
    found = [read_run(folder) for folder in _run_folders(folders)]
    if len(found) == 1:
        print(f"{write_run_page(found[0].folder)}")
        return
    _check_out(out)
    names = _names(found)
    print(_aligned(_summary(names, found)))
    page = comparison(names, found, out.parent)
    with whole(out) as partial:
        partial.write_text(page, encoding="utf-8")
    print(f"\n{out}")


def comparison(names: Sequence[str], found: Sequence[History], folder: Path) -> str:
    """The whole page; the runs' own reports are linked relative to its folder."""
    heads, *rows = _summary(names, found)
    different = _differences(found)
    lines = [[_linked(name, run, folder), *map(escape, row)] for (name, *row), run in zip(rows, found, strict=True)]
    body = [
        f"<header><h1>{len(found)} runs</h1></header>",
        _warnings(different),
        f"<h2>Numbers</h2>{html_table(heads, lines)}",
        f'<h2>Over the steps</h2><div class="charts">{"".join(_charts(names, found))}</div>',
        f"<h2>Settings that differ</h2>{_settings(names, different)}",
        f"<h2>Pictures of the last validations</h2>{_pictures(names, found)}",
    ]
    return document(f"{len(found)} runs", body, STYLE, MADE_BY)


def _run_folders(folders: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        if (folder / CONFIG).exists() or not folder.is_dir():
            found.append(folder)
            continue
        inside = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        found += inside or [folder]  # whose message says what it lacks
    return list({path.resolve(): path for path in found}.values())


def _names(found: Sequence[History]) -> list[str]:
    names = [run.name for run in found]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in found]


def _linked(name: str, run: History, folder: Path) -> str:
    if not (run.folder / PAGE).is_file():
        return escape(name)
    target = Path(os.path.relpath(run.folder.resolve() / PAGE, folder.resolve())).as_posix()
    return f'<a href="{quote(target)}">{escape(name)}</a>'


def _check_out(out: Path) -> None:
    """Stop unless there is nothing, or a page of this command."""
    if out.is_file():
        with out.open("rb") as file:
            ours = f'content="{MADE_BY}"'.encode() in file.read(2000)
        if ours:
            return
    if out.exists():
        raise ConfigError(f"{out}: exists already, and is no page of `{MADE_BY}`. Name another --out.")


def _summary(names: Sequence[str], found: Sequence[History]) -> list[list[str]]:
    """Head and one row for each run."""

    def last(run: History, metric: str) -> str:
        values = run.values(metric)
        return short(values[-1][1]) if values else "-"

    rows = [["run", "steps", "lowest validation loss", "at step", "control gap", "PSNR inside", "PSNR outside",
             "colour drift", "loss", "examples/s"]]  # fmt: skip
    for name, run in zip(names, found, strict=True):
        losses = run.values("validation_loss")
        step, lowest = min(losses, key=lambda point: point[1]) if losses else (0, 0.0)
        drifts = [abs(line.points[-1][1]) for line in drift_lines(run, "mean") if line.points]
        rows.append(
            [
                name,
                f"{run.step:,} of {run.steps:,}",
                *([short(lowest), f"{step:,}"] if losses else ["-", "-"]),
                *(last(run, metric) for metric in ("control_gap", "psnr_inside", "psnr_outside")),
                short(max(drifts)) if drifts else "-",
                *(last(run, metric) for metric in ("loss", "examples_per_second")),
            ]
        )
    return rows


def _charts(names: Sequence[str], found: Sequence[History]) -> list[str]:
    named = list(zip(names, found, strict=True))
    return [
        line_chart(title, note, [run.line(metric, name) for name, run in named], zero=metric == "control_gap")
        for title, metric, note in CHARTS
    ]


def _differences(found: Sequence[History]) -> dict[str, list[Any]]:
    """Settings whose values are not the same in all runs -> the value in each; None where a run has none."""
    keys = sorted({f"{group}.{name}" for run in found for group, part in run.config.items() for name in part})
    values = {key: [run.config.get(key.split(".")[0], {}).get(key.split(".", 1)[1]) for run in found] for key in keys}
    return {key: of for key, of in values.items() if key not in NOT_COMPARED and any(one != of[0] for one in of)}


def _warnings(different: dict[str, list[Any]]) -> str:
    other = [name for name in SAME_VALIDATION if name in different]
    if not other:
        return ""
    return (
        f'<ul class="warnings"><li>{escape(", ".join(other))} differ: validation losses, control gaps and PSNR of '
        "these runs are not of the same patches, or not of the same base, and cannot be compared.</li></ul>"
    )


def _settings(names: Sequence[str], different: dict[str, list[Any]]) -> str:
    if not different:
        return '<p class="none">None.</p>'
    rows = [[escape(key), *(escape(str(value)) for value in values)] for key, values in different.items()]
    return html_table(["setting", *names], rows, "text")


def _pictures(names: Sequence[str], found: Sequence[History]) -> str:
    last = {name: sheets[-1] for name, run in zip(names, found, strict=True) if (sheets := read_sheets(run))}
    patches = [set(sheet.patches) for sheet in last.values()]
    common = sorted(set.intersection(*patches)) if patches else []
    if not common:
        return '<p class="none">The runs have no picture of the same patch.</p>'
    entries = []
    for patch in common:
        pre, _, real = next(iter(last.values())).patches[patch]
        made = [(f"{name}, step {sheet.step:,}", sheet.patches[patch][1]) for name, sheet in last.items()]
        cells = "".join(picture(pixels, what, patch) for what, pixels in [("pre", pre), *made, ("real post", real)])
        entries.append(f'<article><h3>{escape(patch)}</h3><div class="over-time">{cells}</div></article>')
    return f'<div class="gallery">{"".join(entries)}</div>'


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join([rows[number][0].ljust(widths[0]), *row[1:]]) for number, row in enumerate(padded))
