"""The pictures of the report: chosen patches under every method, with the changed area outlined and a slider.

The slider lies over the first generated image: in the middle it shows that image, to the left the pre image uncovers
it, to the right the real post image. It sets one CSS variable; there are no other scripts.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from skimage.measure import approximate_polygon, find_contours

from data.examples.similarity import Mask, Pixels
from data.imagery.encode import data_uri
from evaluation.columns import best, number
from evaluation.metrics.measure import image_of
from evaluation.patches import Patch
from evaluation.report.cells import AREAS
from evaluation.results import Evaluation, Method, PatchResult, Task, competes, mean_of

WORST = 6
DRAWN = 12
PNG_UP_TO_PX = 128  # small images are embedded exactly, large ones as JPEG
JPEG_QUALITY = 90
OUTLINE_TOLERANCE_PX = 0.5
SMALLEST_OUTLINE_PX = 6  # points of a contour; specks only clutter

SLIDER = (
    '<input type="range" min="0" max="100" value="50" aria-label="pre image, generated image, real post image" '
    "oninput=\"this.parentElement.style.setProperty('--at', this.value)\">"
)


def choose_worst(patches: Sequence[PatchResult]) -> list[PatchResult]:
    """Those whose image is worst inside the changed area; whole, if no patch has one."""
    method = next(iter(patches[0].scores))
    changed = [patch for patch in patches if patch.scores[method][0]["inside"]["pixels"]]
    region = "inside" if changed else "whole"
    return sorted(changed or patches, key=lambda patch: -mean_of(patch, method, region))[:WORST]


def choose_random(patches: Sequence[PatchResult], but: Sequence[PatchResult], seed: int) -> list[PatchResult]:
    """Random patches from all others, in the order of the split."""
    shown = {patch.position for patch in but}
    others = [patch for patch in patches if patch.position not in shown]
    picks = np.random.default_rng(abs(seed)).permutation(len(others))[:DRAWN]
    return [others[i] for i in sorted(picks)]


def gallery(
    folder: Path,
    evaluation: Evaluation,
    chosen: Sequence[PatchResult],
    load: Callable[[Sequence[int], Sequence[str]], Iterator[Patch]],
) -> str:
    """One row of pictures per patch; generated images are read from the evaluation's folder."""
    patches = load([result.position for result in chosen], [result.prompt for result in chosen])
    methods = {method: evaluation.named[method] for method in evaluation.methods}
    entries = (_entry(folder, evaluation.task, *one, methods) for one in zip(patches, chosen, strict=True))
    return "".join(entries)


def outline(mask: Mask) -> str:
    """The borders of a mask as an SVG path in pixels; "" if there are none."""
    parts = []
    for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
        if len(contour) < SMALLEST_OUTLINE_PX:
            continue
        points = approximate_polygon(contour, OUTLINE_TOLERANCE_PX) - 0.5  # pixel centres lie at .5, padded by 1
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points) + "Z")
    return "".join(parts)


def _entry(folder: Path, task: Task, patch: Patch, result: PatchResult, methods: Mapping[str, Method]) -> str:
    path = outline(patch.regions["inside"])
    of = escape(f" of {patch.patch_id}", quote=True)
    pre = _figure(_picture([patch.pre], task.shown, of, path), task.shown, _numbers(result, "copy", methods))
    post = _figure(_picture([patch.post], "real post", of, path), "real post", _share(patch, task))
    made: list[str] = []
    for method in (name for name in methods if name != "copy"):
        layers = [image_of(folder, patch, method), *([] if made else [patch.pre, patch.post])]
        name = methods[method].name
        made.append(_figure(_picture(layers, name, of, path), name, _numbers(result, method, methods)))
    return (
        f"<article><h3>{escape(patch.patch_id)} <em>{escape(patch.disaster_type)}</em></h3>"
        f'<p>{escape(patch.prompt)}</p><div class="row">{"".join([pre, *made[:1], post, *made[1:]])}</div></article>'
    )


def _figure(picture: str, name: str, below: str) -> str:
    return f"<figure>{picture}<figcaption><b>{name}</b>{below}</figcaption></figure>"


def _picture(layers: Sequence[Pixels], name: str, of: str, path: str) -> str:
    """One image, or with a slider (image, what uncovers it from the left, what from the right); `of` its patch."""
    side = len(layers[0])
    images = "".join(
        f'<img class="{kind}" src="{_data_uri(pixels)}" alt="{alt}{of}">'
        for pixels, kind, alt in zip(layers, ("", "from-left", "from-right"), (name, "pre", "real post"), strict=False)
    )
    lines = f'<path class="under" d="{path}"/><path d="{path}"/>' if path else ""
    drawn = f'<svg class="outline" viewBox="0 0 {side} {side}" aria-hidden="true">{lines}</svg>' if path else ""
    return f'<div class="picture">{images}{drawn}{SLIDER if len(layers) > 1 else ""}</div>'


def _numbers(result: PatchResult, method: str, methods: Iterable[str]) -> str:
    """MSE in both areas and SSIM of the whole, mean over seeds, the best of the methods marked."""
    if method not in result.scores:
        return ""
    fair = [name for name in methods if competes(name)]
    cells = []
    for region, metric, name in (*((area, "mse", f"MSE {area}") for area in AREAS), ("whole", "ssim", "SSIM")):
        value = mean_of(result, method, region, metric)
        if math.isnan(value):
            continue
        winner = best((mean_of(result, other, region, metric) for other in fair), metric)
        won = value == winner and method in fair
        cells.append(f'<span class="{"best" if won else ""}">{name} {number(value, metric)}{" ✓" * won}</span>')
    return "".join(cells)


def _share(patch: Patch, task: Task) -> str:
    share = patch.regions["inside"].mean()
    return f"<span>{'less than 1%' if 0 < share < 0.01 else f'{share:.0%}'} of it {task.share}</span>"


def _data_uri(pixels: Pixels) -> str:
    small = len(pixels) <= PNG_UP_TO_PX
    return data_uri(pixels, "png") if small else data_uri(pixels, "jpeg", quality=JPEG_QUALITY)
