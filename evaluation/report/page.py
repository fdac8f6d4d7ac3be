"""`report.html`: one page with the tables, their meaning, and pictures. Nothing is loaded from elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from data.pages.document import document, facts, figures
from data.storage import write_text
from evaluation.columns import DAMAGE_METRICS, METRICS
from evaluation.damage.fidelity import fidelity
from evaluation.output import REPORT
from evaluation.patches import Patch
from evaluation.report.cells import AREAS, Table, all_tables, gap_sentences
from evaluation.report.gallery import choose_random, choose_worst, gallery
from evaluation.report.origin import origin, title
from evaluation.report.tables import html_table
from evaluation.report.terminal import interval_sentence, verdict
from evaluation.results import Evaluation

STYLE = Path(__file__).with_name("gallery.css")

METRICS_IN_WORDS = {
    "mse": "Mean squared difference of pixel values from 0 to 1, pooled over all pixels. Lower is better.",
    "psnr": "The same in decibels, mean over patches (identical pixels count as 100). Higher is better.",
    "ssim": "Structural similarity: edges and textures in the same places. 1 is identical; mean over patches.",
    "lpips_vgg": "Perceptual distance by a network trained on photographs. Lower is better.",
    "lpips_alex": "The same with a smaller network.",
    "clip": "Agreement of image and caption, 0 to 100, by a network trained on photographs from the web.",
    "clip_shuffled": "The same with the caption of another patch: what the CLIP-score is of images that ignore theirs.",
    "dinov3_sat": "Cosine of the features of an image and the real one, by DINOv3 of satellite images. 1 is identical.",
    "fid": "Distance between the set of images and the set of real ones, regardless of pairing. Lower is better.",
    "kid": "The same without the bias for small sets, times 1000.",
    "score": "As in the xView2 challenge: 0.3 x localisation F1 + 0.7 x damage F1, of the predictions of a damage "
    "model trained on labelled pairs. The row of the real post images shows the model's own limit.",
    "localisation_f1": "Building localisation in the pre image, the same in every row.",
    "damage_f1": "Harmonic mean of the F1 of the four classes, over building pixels: the worst class decides.",
    "is": "How distinct and varied the images of a set are; independent of the real ones.",
}


def write_report(folder: Path, evaluation: Evaluation, load: Callable[..., Iterator[Patch]]) -> None:
    """Write report.html next to the images of an evaluation.

    Args:
        folder: that contains images/.
        evaluation: what was measured.
        load: reads the patches at some positions of the split, with the captions of a second list.
    """
    settings = evaluation.settings
    worst = choose_worst(evaluation.patches)
    random = choose_random(evaluation.patches, worst, settings["seed"])
    main, *others = all_tables(evaluation)
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in verdict(evaluation))
    body = [
        f"<header><h1>{escape(title(settings))}</h1>{facts(origin(settings))}</header>",
        f'<div class="verdict">{said}<p class="aside">{evaluation.task.aside}</p></div>',
        _figures(evaluation),
        f"<h2>{escape(main.title)}</h2>{html_table(main)}",
        '<input type="checkbox" id="outlines" checked>',
        f'<div class="heading"><h2>Worst patches</h2><label for="outlines"></label></div>'
        f"<p>{_worst(evaluation)} Move the slider to the left "
        f"for the {evaluation.task.shown} image, to the right for the real post image.</p>"
        f'<div class="gallery">{gallery(folder, evaluation, worst, load)}</div>',
    ]
    if random:
        body.append(
            "<h2>Random patches</h2><p>From all others, since the worst are not representative.</p>"
            f'<div class="gallery">{gallery(folder, evaluation, random, load)}</div>'
        )
    body += [_tables(evaluation, others), _in_words(evaluation)]
    write_text(folder / REPORT, document(title(settings), body, STYLE.read_text(encoding="utf-8")))


def _tables(evaluation: Evaluation, others: Sequence[Table]) -> str:
    tables = "".join(f"<h2>{escape(table.title)}</h2>{html_table(table)}" for table in others)
    remarks = [*gap_sentences(evaluation), *evaluation.notes, interval_sentence(evaluation)]
    return tables + f'<ul class="notes">{"".join(f"<li>{escape(remark)}</li>" for remark in remarks)}</ul>'


def _figures(evaluation: Evaluation) -> str:
    measured, total = len(evaluation.patches), evaluation.settings["split_patches"]
    shown = [(f"{measured:,}", "patches measured" if measured == total else f"of {total:,} patches measured")]
    against_copying = [row for row, than in evaluation.pairs if than == "copy"]
    for row in against_copying:
        shown += _against_copying(evaluation, row, f" ({row})" if len(against_copying) > 1 else "")
    return figures(shown)


def _against_copying(evaluation: Evaluation, row: str, which: str) -> list[tuple[str, str]]:
    figures, copying = [], evaluation.said("copy")[2]
    won, counted = evaluation.better_inside(row)
    if counted:
        what = f"patches where generating beats {copying} {evaluation.task.inside.lower()}{which}"
        figures.append((f"{won} of {counted}", what))
    for region in AREAS:
        less = evaluation.less(row, "copy", region)
        copy = evaluation.estimate(evaluation.patches, "copy", region, "mse").value
        if less.decided and copy > 0:
            change = f"{less.value / copy:+.0%}".replace("-", "\N{MINUS SIGN}")
            where = getattr(evaluation.task, region).lower()
            figures.append((change, f"squared error against {copying}, {where}{which}"))
    return figures


def _in_words(evaluation: Evaluation) -> str:
    groups = [
        ("Rows", [(one.name, escape(one.words)) for one in map(evaluation.named.__getitem__, evaluation.methods)]),
        ("Columns", [("whole", "Every pixel of the patch."), *evaluation.task.regions.items()]),
        (
            "Numbers",
            [
                (METRICS[key].name, text)
                for key, text in METRICS_IN_WORDS.items()
                if key not in evaluation.gaps and (key not in DAMAGE_METRICS or fidelity(evaluation))
            ],
        ),
    ]
    sections = ""
    for head, entries in groups:
        terms = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in entries)
        sections += f"<section><h3>{head}</h3><dl>{terms}</dl></section>"
    return f'<div class="words">{sections}</div>'


def _worst(evaluation: Evaluation) -> str:
    first = evaluation.methods[0]
    changed = any(patch.scores[first][0]["inside"]["pixels"] for patch in evaluation.patches)
    where = evaluation.task.inside.lower() if changed else "over the whole patch"
    whose = f"The images of {first} that are" if len(evaluation.trained) > 1 else "Those"
    return f"{whose} farthest from the real image (MSE), {where}."
