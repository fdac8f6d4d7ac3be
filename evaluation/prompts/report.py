"""What a prompt study writes: `results.json`, one self-contained `report.html`, and the table in the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.imagery.encode import data_uri
from data.pages.document import document, html_table
from data.storage import write_text
from data.strict_json import as_json
from evaluation.estimate import FEWEST_CLUSTERS, Estimate
from evaluation.output import REPORT, RESULTS, image_file
from evaluation.prompts.answers import Answer
from evaluation.prompts.buildings import Gauge
from evaluation.prompts.change import Detector, Pixels
from evaluation.prompts.charts import COLOURS, curve, legend, matrix, rose
from evaluation.prompts.grid import STUDIES, Prompt
from evaluation.prompts.numbers import MATRICES, MEASURES, Numbers
from evaluation.results import METHODS

FORMAT = 1
PLOT_STYLE = (
    ".plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }"
    ".plot { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }"
    ".plot text { font-size: 10px; fill: var(--soft); } .plot line { stroke: var(--line); }"
    ".plot .share { fill: var(--ink); }"
    ".plot circle { fill: none; stroke: var(--line); } .plot g path { fill: none; stroke-width: 1.6; }"
    ".legend { display: flex; gap: 18px; font-size: 13px; margin: 12px 0; }"
    ".legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }"
    ".strip { display: grid; grid-template-columns: repeat(8, 1fr); gap: 6px; margin-bottom: 10px; }"
    ".strip img { width: 100%; display: block; border-radius: 4px; }"
    + "".join(
        f".plot .{method} path, .plot .{method} line, .plot .{method} circle {{ stroke: {colour}; }}"
        f".plot .{method} circle {{ fill: {colour}; }}"
        for method, colour in COLOURS.items()
    )
)
SHOWN = 4  # patches with pictures
PICTURED = (*STUDIES["severity"], *STUDIES["position"][:8])


@dataclass(frozen=True)
class Study:
    """Everything that the outputs show."""

    settings: dict[str, Any]
    prompts: list[Prompt]
    answers: list[Answer]
    numbers: Numbers
    gaps: dict[str, str]  # study -> why it was not made
    detector: Detector
    gauge: Gauge
    truth: dict[str, Any]  # the measures on real pairs, see `real_pairs`


def write_study(folder: Path, study: Study, pre_of: Callable[[int], Pixels]) -> None:
    """Write report.html, then results.json: its presence marks completion."""
    write_text(folder / REPORT, _page(folder, study, pre_of))
    content = {
        "format": FORMAT,
        "study": "prompts",
        **study.settings,
        "not_measured": study.gaps,
        "change_detector": asdict(study.detector),
        "building_gauge": study.gauge.agreement,
        "measures": {key: {"study": one.study, "name": one.name, "unit": one.unit, "chance": one.chance}
                     for key, one in MEASURES.items()},
        "real_pairs": study.truth,
        "scores": study.numbers.scores,
        "generated_less_base": study.numbers.advantage,
        "curves": study.numbers.curves,
        "confusion": {method: {key: shares.tolist() for key, shares in of.items()}
                      for method, of in study.numbers.confusion.items()},
        "prompts": [asdict(prompt) for prompt in study.prompts],
        "answers": [asdict(answer) for answer in study.answers],
    }  # fmt: skip
    write_text(folder / RESULTS, as_json(content))


def render(study: Study) -> str:
    """The table as plain text, and what it means."""
    return "\n".join([*aligned(table(study.numbers)), "", *sentences(study)])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines, their columns one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def table(numbers: Numbers) -> list[list[str]]:
    """Head and one row for each measure: its name, chance level, every method, generated minus base."""
    head = ["", "chance", *(METHODS[method].name for method in numbers.scores)]
    rows = [[*head, "generated minus base"] if numbers.advantage else head]
    for key in next(iter(numbers.scores.values())):
        one = MEASURES[key]
        cells = [estimated(of[key], one.digits) for of in numbers.scores.values()]
        if numbers.advantage:
            cells.append(estimated(numbers.advantage[key], one.digits))
        rows.append([f"{one.study}: {one.name}, {one.unit}", f"{one.chance:.{one.digits}f}", *cells])
    return rows


def sentences(study: Study) -> list[str]:
    """Which words are followed better than by the base alone, how reliable the measures are, and what is missing."""
    numbers = study.numbers
    found = [verdict(key, numbers.scores["generated"][key], one) for key, one in numbers.advantage.items()]
    agreement, gauge = study.detector.agreement, study.gauge.agreement
    if agreement:
        found.append(
            f"Change is a difference of at least {study.detector.threshold:.3f}: on {agreement['patches']} real pairs "
            f"its area correlates with true change by {agreement['area_correlation']:.2f} (ranks "
            f"{agreement['area_rank_correlation']:.2f}), F1 of its pixels {agreement['f1']:.2f}."
        )
    else:
        found.append(
            f"Change is a difference of at least {study.detector.threshold:.3f}; how well that agrees with true change "
            "is unknown here."
        )
    if gauge:
        found.append(
            f"The regression of building counts agrees with the labels of {gauge['images']} images of other "
            f"scenes by a rank correlation of {gauge['rank_correlation']:.2f}."
        )
    else:
        found.append("How well the regression of building counts agrees with labels of other scenes is unknown here.")
    place = study.truth["position"]
    if place["patches"]:
        found.append(
            f"On {place['patches']} real pairs whose captions name a direction, the angle error is "
            f"{place['angle']:.1f} degrees and {place['hit']:.1f} % are hits: the score of the real images."
        )
    gaps = [f"{name}: not measured, {reason}." for name, reason in study.gaps.items()]
    return [*found, *study.settings["notes"], *gaps]


def verdict(key: str, generated: Estimate, advantage: Estimate) -> str:
    """Followed if better than chance and than the base, both beyond the intervals."""
    one = MEASURES[key]
    if math.isnan(advantage.low):
        return f"{one.study} ({one.name}): no verdict, the patches are of fewer than {FEWEST_CLUSTERS} scenes."
    if one.lower_is_better:
        followed = advantage.high < 0 and generated.high < one.chance
    else:
        followed = advantage.low > 0 and generated.low > one.chance
    how = "better than by chance and by" if followed else "not certainly better than by chance and by"
    return f"{one.study} ({one.name}): followed {how} the base alone."


def estimated(estimate: Estimate, digits: int) -> str:
    """A number with its interval, if it has one."""
    text = f"{estimate.value:.{digits}f}"
    return text if math.isnan(estimate.low) else f"{text} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _page(folder: Path, study: Study, pre_of: Callable[[int], Pixels]) -> str:
    title = "Do images follow the prompt?"
    settings = study.settings
    facts = (
        f"{settings['checkpoint']}, step {settings['step']:,}; {settings['dataset']}, split {settings['split']}; "
        f"{settings['patches']} patches of {settings['scenes']} scenes, {settings['samples']} seed(s); "
        f"captions {settings['caption_style']}; {settings['scheduler']}, {settings['steps']} steps, "
        f"guidance {settings['guidance_scale']:g}"
    )
    heads, *rows = table(study.numbers)
    body = [
        f"<header><h1>{title}</h1><p>{escape(facts)}</p></header>",
        f'<div class="verdict">{"".join(f"<p>{escape(text)}</p>" for text in sentences(study))}</div>',
        f"<h2>Numbers</h2><p>In brackets 95 % intervals over scenes.</p>{html_table(heads, escaped(rows))}",
        f'<h2>Plots</h2>{legend({method: METHODS[method].name for method in study.numbers.scores})}'
        f'<div class="plots">{"".join(_plots(study))}</div>',
        f'<h2>Which words are taken for which</h2><div class="plots">{"".join(_matrices(study))}</div>',
        "<h2>Pictures</h2><p>The pre image, then one image per word, the noise always the same.</p>",
        *_pictures(folder, study, pre_of),
    ]  # fmt: skip
    return document(title, body, PLOT_STYLE)


def _plots(study: Study) -> list[str]:
    curves = study.numbers.curves
    plots = []
    if "severity" not in study.gaps:
        for field, what in (("changed", "Area changed against pre"), ("beyond", "Area different from `none`")):
            lines = {method: of[field] for method, of in curves.items()}
            plots.append(curve(f"{what}, %", lines, STUDIES["severity"], unit=0.01))
    if "position" not in study.gaps:
        plots += [
            rose(f"Where the difference lies: {METHODS[method].name}", method, of["east"], of["north"])
            for method, of in curves.items()
            if method != "copy"
        ]
    if "count" not in study.gaps:
        lines = {method: of["buildings"] for method, of in curves.items()}
        plots.append(curve("Buildings, by regression", lines, STUDIES["count"]))
    return plots


def _matrices(study: Study) -> list[str]:
    return [
        matrix(f"{MATRICES[key].title}: {METHODS[method].name}", method, MATRICES[key].words, shares.tolist())
        for key in MATRICES
        for method, of in study.numbers.confusion.items()
        if method != "copy" and (shares := of.get(key)) is not None
    ]


def _pictures(folder: Path, study: Study, pre_of: Callable[[int], Pixels]) -> list[str]:
    by_patch: dict[int, dict[str, Prompt]] = {}
    for prompt in study.prompts:
        by_patch.setdefault(prompt.position, {})[prompt.word] = prompt
    entries = []
    for position, prompts in list(by_patch.items())[:SHOWN]:
        patch_id = next(iter(prompts.values())).patch_id
        strips, shown = "", [word for word in PICTURED if word in prompts]
        for method in ("generated", "base"):
            cells = [cell(Image.fromarray(pre_of(position)), "pre", patch_id)]
            for word in shown:
                with Image.open(folder / image_file(prompts[word].name, method), formats=("PNG",)) as image:
                    cells.append(cell(image, word, f"{patch_id}, {METHODS[method].name}"))
            strips += f'<p>{METHODS[method].name}</p><div class="strip">{"".join(cells)}</div>'
        first = prompts[shown[0]]
        entries.append(f"<article><h3>{escape(first.patch_id)}</h3><p>{escape(first.text)}</p>{strips}</article>")
    return entries


def escaped(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells of plain text as HTML."""
    return [[escape(cell) for cell in row] for row in rows]


def cell(image: Image.Image, word: str, patch: str) -> str:
    """A figure with the image embedded, named for those who do not see it."""
    uri = data_uri(np.asarray(image.convert("RGB")), "jpeg", quality=90)
    alt = escape(f"{word} of {patch}", quote=True)
    return f'<figure><img src="{uri}" alt="{alt}"><figcaption>{word}</figcaption></figure>'
