"""`report.html` of a run: losses, pictures and settings over its steps. Rewritten at each validation and at the end.

It is made from the files of the run folder alone, so `pre2post runs FOLDER` writes it again at any time.
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from data.examples.similarity import Pixels
from data.imagery.encode import data_uri
from data.imagery.pixels import resize_rgb
from data.pages.document import document, facts, figures, html_table
from data.pages.lines import Line, line_chart, short
from data.storage import write_text
from train.config import Config, DataConfig, RunConfig, as_plain
from train.saving.run_files import read_metrics
from train.watching.history import History, Sheet, read_run, read_sheets
from train.watching.monitors import CHANNELS

PAGE = "report.html"
CHANNEL_COLOURS = (4, 2, 0)  # of data/pages/style.css: red, green, blue
PICTURE_PX = 160  # larger pictures are embedded smaller
INSIDE = (
    "Inside the change: simulated data know every changed pixel; on xBD it is the damaged buildings. Outside: ground "
    "that certainly did not change, on xBD all but damaged buildings."
)
STYLE = """
.over-time { display: grid; grid-template-columns: repeat(auto-fill, minmax(100px, 1fr)); gap: 8px; }
.over-time img { width: 100%; display: block; border-radius: 6px; }
.settings { columns: 320px; column-gap: 32px; font-size: 13px; } .settings section { break-inside: avoid; }
.settings dl { margin: 2px 0 14px; } .settings div { display: flex; gap: 8px; } .settings dt { color: var(--soft); }
.settings dd { margin: 0; overflow-wrap: anywhere; } .settings .set { font-weight: 650; }
"""


def write_run_page(folder: Path) -> Path:
    """Write report.html into a run folder.

    Raises:
        ConfigError: see `read_run`, `read_sheets`.
    """
    run = read_run(folder)
    write_text(folder / PAGE, run_page(run, read_sheets(run)))
    return folder / PAGE


def refresh_run_page(folder: Path) -> None:
    """The same during training: a page that cannot be written is a note, since the training is worth more."""
    try:
        if read_metrics(folder):  # none, if it is stopped before the first line
            write_run_page(folder)
    except Exception as error:
        print(f"\nnote: NO {folder / PAGE} ({type(error).__name__}: {error}). Try again: pre2post runs {folder}")


def run_page(run: History, sheets: Sequence[Sheet]) -> str:
    """The whole page."""
    body = [
        f"<header><h1>{escape(run.name)}</h1>{_provenance(run)}</header>",
        _warnings(run),
        figures(_figures(run)),
        f'<h2>Over the steps</h2>{_resumed(run)}<div class="charts">{"".join(_charts(run))}</div>',
        f"<h2>Validation pictures</h2>{_pictures(sheets)}",
        f"<h2>Starts</h2>{_starts(run)}",
        f"<h2>Settings</h2><p>In bold what is not the default.</p>{_settings(run.config)}",
        f"<h2>Command</h2><pre>{escape(' '.join(run.facts['command']))}</pre>",
    ]
    return document(f"{run.name}: training", body, STYLE, "pre2post train")


def drift_lines(run: History, statistic: str) -> list[Line]:
    """One line for each channel; `statistic` is mean or std."""
    return [
        run.line(f"colour_drift_{statistic}_{channel}", channel, colour)
        for channel, colour in zip(CHANNELS, CHANNEL_COLOURS, strict=True)
    ]


def _provenance(run: History) -> str:
    setting = {group: dict(part) for group, part in run.config.items()}
    done = "finished" if run.step == run.steps else "not finished: the same command goes on"
    now = datetime.now(timezone.utc).isoformat(" ", timespec="minutes").removesuffix("+00:00")
    return facts(
        [
            ("state", done),
            ("trained", setting.get("model", {}).get("trained", "?")),
            ("base", setting.get("model", {}).get("base", "?")),
            ("dataset", setting.get("data", {}).get("dataset", "?")),
            ("run", run.facts["id"]),
            ("commit", run.facts["commit"][:12]),
            ("written", f"{now} UTC, after step {run.step:,}"),
        ]
    )


def _warnings(run: History) -> str:
    settings, found = run.config.get("validation", {}), []
    if not run.values("validation_loss"):
        found.append("There is no validation yet. Without one (validation.every is 0) nobody sees whether it learns.")
    elif settings.get("split") == run.config.get("data", {}).get("split"):
        found.append("The validation split is trained on: its loss says nothing about other places.")
    items = "".join(f"<li>{escape(text)}</li>" for text in found)
    return f'<ul class="warnings">{items}</ul>' if found else ""


def _figures(run: History) -> list[tuple[str, str]]:
    found = [(f"{run.step:,}", f"of {run.steps:,} steps")]
    if losses := run.values("validation_loss"):
        step, lowest = min(losses, key=lambda point: point[1])
        found.append((short(lowest), f"lowest validation loss, at step {step:,}"))
    for metric, what in (
        ("control_gap", "control gap: above 0 the pre image helps"),
        ("psnr_inside", "dB PSNR inside the change"),
        ("psnr_outside", "dB PSNR outside of it"),
        ("examples_per_second", "examples per second"),
    ):
        if values := run.values(metric):
            found.append((short(values[-1][1]), what))
    return found


def _charts(run: History) -> list[str]:
    marks = [start["step"] for start in run.resumes]
    losses = [run.line("loss", "as minimised")]
    if run.values("loss") != run.values("loss_plain"):
        losses.append(run.line("loss_plain", "unweighted"))
    waits = [value for _, value in run.values("data_wait")]
    wait = f", {sum(waits) / len(waits):.0%} of the time waiting for data" if waits else ""
    gap = [run.line("control_gap", "all"), *_binned(run, "control_gap")]
    areas = [run.line("psnr_inside", "inside"), run.line("psnr_outside", "outside")]
    drift, spread = drift_lines(run, "mean"), drift_lines(run, "std")
    return [
        line_chart("Training loss", "mean squared error of the base's prediction target", losses, marks),
        line_chart("Validation loss", "unweighted, on held-out patches", [run.line("validation_loss", "all")], marks),
        line_chart("Validation loss per timestep", "t: noise level, 0 = image", _binned(run, "validation_loss"), marks),
        line_chart("Control gap", "loss without the ControlNet minus loss with it", gap, marks, zero=True),
        line_chart("Validation images against the real ones", f"PSNR, dB. {INSIDE}", areas, marks),
        line_chart("Colour drift: mean", "from pre where nothing changed, 0 to 255", drift, marks, zero=True),
        line_chart("Colour drift: spread", "of the standard deviation, 0 to 255", spread, marks, zero=True),
        line_chart("Learning rate", "per optimizer step", [run.line("learning_rate", "rate")], marks, zero=True),
        line_chart("Speed", f"examples per second{wait}", [run.line("examples_per_second", "all")], marks, zero=True),
        line_chart("Gradient norm", "before clipping", [run.line("grad_norm", "norm")], marks),
    ]


def _resumed(run: History) -> str:
    return "<p>Dotted vertical lines: where it was resumed.</p>" if run.resumes else ""


def _binned(run: History, metric: str) -> list[Line]:
    return [run.line(name, name.removeprefix(f"{metric}_")) for name in run.bins(metric)]


def _pictures(sheets: Sequence[Sheet]) -> str:
    if not sheets:
        return '<p class="none">None yet: they come with the validations, if validation.images is above 0.</p>'
    entries = []
    for name, (pre, _, real) in sheets[-1].patches.items():
        made = [(f"step {sheet.step:,}", sheet.patches[name][1]) for sheet in sheets if name in sheet.patches]
        cells = "".join(picture(pixels, what, name) for what, pixels in [("pre", pre), *made, ("real post", real)])
        entries.append(f'<article><h3>{escape(name)}</h3><div class="over-time">{cells}</div></article>')
    return (
        f'<p>The same patches, captions and noise at every validation.</p><div class="gallery">{"".join(entries)}</div>'
    )


def picture(pixels: Pixels, what: str, patch: str) -> str:
    """A figure with a picture of at most PICTURE_PX."""
    small = resize_rgb(Image.fromarray(pixels), min(len(pixels), PICTURE_PX))
    uri = data_uri(small, "jpeg", quality=85)
    return (
        f'<figure><img src="{uri}" alt="{escape(f"{what} of {patch}", quote=True)}">'
        f"<figcaption>{escape(what)}</figcaption></figure>"
    )


def _starts(run: History) -> str:
    starts = run.facts.get("starts", [])
    if not starts:
        return '<p class="none">Not recorded: the run was started by an earlier version.</p>'
    rows = [
        [
            str(number),
            f"{start['step']:,}",
            escape(start["time"].replace("T", " ").removesuffix("+00:00")),
            str(start["processes"]),
            _changes(start["changed"]) if number > 1 else "",
        ]
        for number, start in enumerate(starts, 1)
    ]
    return html_table(["start", "from step", "UTC", "processes", "what changed since the one before"], rows, "text")


def _changes(changed: dict[str, Any]) -> str:
    pairs = [
        f"{escape(name)}: {escape(str(pair[0]))} → <b>{escape(str(pair[1]))}</b>"
        for name, pair in changed.items()
        if isinstance(pair, list) and len(pair) == 2
    ]
    return "<br>".join(pairs) or "nothing"


def _settings(config: dict[str, dict[str, Any]]) -> str:
    defaults = as_plain(Config(data=DataConfig(dataset=Path()), run=RunConfig(out=Path())))
    sections = ""
    for group, part in config.items():
        usual = defaults.get(group, {})
        entries = "".join(
            f"<div{_bold(name not in usual or usual[name] != value)}>"
            f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd></div>"
            for name, value in part.items()
        )
        sections += f"<section><h3>{escape(group)}</h3><dl>{entries}</dl></section>"
    return f'<div class="settings">{sections}</div>'


def _bold(wanted: bool) -> str:
    return ' class="set"' if wanted else ""


def _text(value: object) -> str:
    return "null" if value is None else str(value)
