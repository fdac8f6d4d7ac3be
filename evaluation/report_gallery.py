"""The pictures of the report: pre, generated, real post and base of chosen patches, with the changed area outlined."""

import base64
import io
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from data.similarity import Mask, Pixels
from evaluation.output import image_file
from evaluation.patches import Patch
from evaluation.results import PatchResult, best
from evaluation.table import AREAS, number

WORST = 6
DRAWN = 12
PNG_UP_TO_PX = 128  # small images are embedded exactly, large ones as JPEG
JPEG_QUALITY = 90
OUTLINE_TOLERANCE_PX = 0.5
SMALLEST_OUTLINE_PX = 6  # points of a contour; specks only clutter

# Column -> the method it shows; None = the truth.
COLUMNS = {"pre": "copy", "generated": "generated", "real post": None, "base without control": "base"}


def choose_worst(patches: Sequence[PatchResult]) -> list[PatchResult]:
    """Those with the highest error of the generated image inside the changed area; whole, if no patch has one."""
    changed = [patch for patch in patches if patch.scores["generated"]["inside"].pixels]
    region = "inside" if changed else "whole"
    return sorted(changed or patches, key=lambda patch: -patch.scores["generated"][region].mse)[:WORST]


def choose_random(patches: Sequence[PatchResult], but: Sequence[PatchResult], seed: int) -> list[PatchResult]:
    """Patches drawn by lot from all others, in the order of the split."""
    shown = {patch.position for patch in but}
    others = [patch for patch in patches if patch.position not in shown]
    picks = np.random.default_rng(abs(seed)).permutation(len(others))[:DRAWN]
    return [others[i] for i in sorted(picks)]


def gallery(folder: Path, chosen: Sequence[PatchResult], load: Callable[[Sequence[int]], Iterator[Patch]]) -> str:
    """One row of pictures per patch; generated images are read from the folder of the evaluation."""
    patches = load([result.position for result in chosen])
    return "".join(_entry(folder, patch, result) for patch, result in zip(patches, chosen, strict=True))


def outline(mask: Mask) -> str:
    """The borders of a mask as an SVG path in pixels; "" if there are none."""
    parts = []
    for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
        if len(contour) < SMALLEST_OUTLINE_PX:
            continue
        points = approximate_polygon(contour, OUTLINE_TOLERANCE_PX) - 0.5  # pixel centres lie at .5, padded by 1
        parts.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points) + "Z")
    return "".join(parts)


def _entry(folder: Path, patch: Patch, result: PatchResult) -> str:
    images = {"copy": patch.pre, None: patch.post}
    for method in ("generated", "base"):
        with Image.open(folder / image_file(patch.patch_id, method)) as image:
            images[method] = np.asarray(image)
    path = outline(patch.regions["inside"])
    cells = "".join(
        f"<figure>{_picture(images[method], name, path)}<figcaption><b>{name}</b>"
        f"{_numbers(result, method) if method else _share(patch)}</figcaption></figure>"
        for name, method in COLUMNS.items()
    )
    return (
        f"<article><h3>{escape(patch.patch_id)} <em>{escape(patch.disaster_type)}</em></h3>"
        f'<p>{escape(patch.prompt)}</p><div class="row">{cells}</div></article>'
    )


def _picture(pixels: Pixels, name: str, path: str) -> str:
    side = len(pixels)
    lines = f'<path class="under" d="{path}"/><path d="{path}"/>' if path else ""
    drawn = f'<svg class="outline" viewBox="0 0 {side} {side}" aria-hidden="true">{lines}</svg>' if path else ""
    return f'<div class="picture"><img src="{_data_uri(pixels)}" alt="{name}">{drawn}</div>'


def _numbers(result: PatchResult, method: str) -> str:
    """MSE in both areas and SSIM of the whole, the best of the three methods marked."""
    cells = []
    for region, metric, name in (*((area, "mse", f"MSE {area}") for area in AREAS), ("whole", "ssim", "SSIM")):
        value = getattr(result.scores[method][region], metric)
        if math.isnan(value):
            continue
        column = [getattr(scores[region], metric) for scores in result.scores.values()]
        kind = "best" if value == best(column, lowest=metric == "mse") else ""
        cells.append(f'<span class="{kind}">{name} {number(value, metric)}</span>')
    return "".join(cells)


def _share(patch: Patch) -> str:
    share = patch.regions["inside"].mean()
    return f"<span>{'less than 1%' if 0 < share < 0.01 else f'{share:.0%}'} of it changed</span>"


def _data_uri(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    if len(pixels) <= PNG_UP_TO_PX:
        kind = "png"
        Image.fromarray(pixels).save(buffer, format="PNG")
    else:
        kind = "jpeg"
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
