"""`report.html`: one page with the tables, what they mean, and pictures. No scripts, nothing loaded from elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from evaluation.output import REPORT
from evaluation.patches import Patch
from evaluation.report_gallery import choose_random, choose_worst, gallery
from evaluation.report_tables import disaster_table, headline_table
from evaluation.results import METHODS, Evaluation
from evaluation.table import METRICS, verdict

STYLE = Path(__file__).with_name("report.css")

METHODS_IN_WORDS = {
    "generated": "The trained ControlNet shows the pre image to the base, which draws the post image of the caption.",
    "copy": "The answer of one who says that nothing changes. Hard to beat outside the changed area, where it is "
    "nearly true; the mark to beat inside it.",
    "base": "The base draws from the same caption and the same start noise but never sees the pre image: "
    "a plausible place, not this place.",
}
REGIONS_IN_WORDS = {
    "whole": "Every pixel of the patch.",
    "inside": "The changed area. Simulated data: pixels whose true change is at least a quarter of full. xBD: "
    "buildings with minor or major damage or destroyed.",
    "outside": "Simulated data: pixels that surely did not change. xBD: all but damaged buildings, though water, ash "
    "or the season may have changed the ground. Un-classified buildings, pixels without data and what is "
    "neither surely changed nor surely unchanged are left out of both areas.",
}
METRICS_IN_WORDS = {
    "mse": "Mean squared difference of pixel values from 0 to 1, pooled over all pixels. Lower is better.",
    "psnr": "The same in decibels, mean over patches. Higher is better.",
    "ssim": "Structural similarity: edges and textures in the same places. 1 is identical; mean over patches.",
}


def write_report(folder: Path, evaluation: Evaluation, load: Callable[[Sequence[int]], Iterator[Patch]]) -> None:
    """Write report.html beside the images of an evaluation.

    Args:
        folder: where images/ lies.
        evaluation: what was measured.
        load: gives the patches at some positions of the split.
    """
    settings = evaluation.settings
    worst = choose_worst(evaluation.patches)
    random = choose_random(evaluation.patches, worst, settings["seed"])
    title = _title(Path(settings["checkpoint"]), settings["step"])
    body = [
        f"<header><h1>{escape(title)}</h1>{_provenance(evaluation)}</header>",
        f'<div class="verdict">{"".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(evaluation))}</div>',
        _figures(evaluation),
        f"<h2>Against the real post images</h2>{headline_table(evaluation)}{_in_words()}",
        f"<h2>By disaster type</h2>{disaster_table(evaluation)}",
        '<input type="checkbox" id="outlines" checked>',
        f'<div class="heading"><h2>Worst patches</h2><label for="outlines"></label></div>'
        f"<p>Those whose generated image is farthest from the real one (MSE), {_where(evaluation)}.</p>"
        f'<div class="gallery">{gallery(folder, worst, load)}</div>',
    ]
    if random:
        body.append(
            "<h2>Patches drawn by lot</h2><p>From all others, so that the worst do not stand for the rest.</p>"
            f'<div class="gallery">{gallery(folder, random, load)}</div>'
        )
    html = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )
    (folder / REPORT).write_text(html, encoding="utf-8")


def _title(checkpoint: Path, step: int) -> str:
    in_run = checkpoint.parent.name == "checkpoints"
    return (
        f"Evaluation of {checkpoint.parents[1].name}, step {step:,}" if in_run else f"Evaluation of {checkpoint.name}"
    )


def _provenance(evaluation: Evaluation) -> str:
    settings = evaluation.settings
    facts = [
        ("checkpoint", settings["checkpoint"]),
        ("weights", f"{settings['weights']}, step {settings['step']:,}"),
        ("base", settings["base"]),
        ("dataset", f"{settings['dataset']}, split {settings['split']}"),
        ("captions", settings["caption_style"]),
        ("sampling", f"DDIM, {settings['steps']} steps, guidance {settings['guidance_scale']:g}"),
        ("seed", settings["seed"]),
        ("images", f"{settings['resolution']} x {settings['resolution']} px"),
    ]
    return f"<dl>{''.join(f'<div><dt>{name}</dt><dd>{escape(str(value))}</dd></div>' for name, value in facts)}</dl>"


def _figures(evaluation: Evaluation) -> str:
    measured, total = len(evaluation.patches), evaluation.settings["split_patches"]
    summary = evaluation.summary()
    figures = [(f"{measured:,}", "patches measured" if measured == total else f"of {total:,} patches measured")]
    won, counted = evaluation.better_inside()
    if counted:
        figures.append((f"{won} of {counted}", "patches where generating beats copying inside the changed area"))
    for region, where in (("inside", "inside the changed area"), ("outside", "outside of it")):
        ours, copy = summary["generated"][region].mse, summary["copy"][region].mse
        if copy > 0:
            change = f"{ours / copy - 1:+.0%}".replace("-", "\N{MINUS SIGN}")
            figures.append((change, f"squared error against copying, {where}"))
    cells = "".join(f"<div><b>{big}</b><span>{what}</span></div>" for big, what in figures)
    return f'<div class="figures">{cells}</div>'


def _in_words() -> str:
    groups = [
        ("Rows", [(METHODS[key], text) for key, text in METHODS_IN_WORDS.items()]),
        ("Columns", list(REGIONS_IN_WORDS.items())),
        ("Numbers", [(METRICS[key], text) for key, text in METRICS_IN_WORDS.items()]),
    ]
    sections = ""
    for head, entries in groups:
        terms = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in entries)
        sections += f"<section><h3>{head}</h3><dl>{terms}</dl></section>"
    return f'<div class="words">{sections}</div>'


def _where(evaluation: Evaluation) -> str:
    return "inside the changed area" if evaluation.better_inside()[1] else "over the whole patch"
