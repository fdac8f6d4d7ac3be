"""Results of a validation's images: metrics, a contact sheet and scores per patch on disk."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.examples.similarity import Mask, Pixels, Score, score, summarise
from data.storage import sweep, whole_folder
from data.strict_json import as_json
from train.watching.contact_sheet import contact_sheet
from train.watching.monitors import colour_drift, drift_metrics

IMAGES, SCORES = "images.png", "scores.json"
_FILES = (IMAGES, SCORES)
AREAS = ("inside", "outside")  # of the change, see data/examples/regions.py


@dataclass(frozen=True)
class Measured:
    """One patch with its generated image."""

    patch_id: str
    images: tuple[Pixels, Pixels, Pixels]  # pre, generated, real
    scores: dict[str, Score]  # by area
    drift: NDArray[np.float64]  # see `colour_drift`


def measure(patch_id: str, pre: Pixels, generated: Pixels, real: Pixels, areas: Mapping[str, Mask]) -> Measured:
    """Compare a generated image with the real one in each area, and with the pre image where unchanged."""
    scores = score(generated, real, {name: areas[name] for name in AREAS})
    return Measured(patch_id, (pre, generated, real), scores, colour_drift(generated, pre, areas["outside"]))


def image_metrics(measured: Sequence[Measured]) -> dict[str, float]:
    """`psnr_inside` (dB), `ssim_inside`, the same outside, and the colour drift; what no patch has is omitted."""
    metrics: dict[str, float] = {}
    for area in AREAS:
        summary = summarise(one.scores[area] for one in measured)
        metrics |= {f"psnr_{area}": summary.psnr, f"ssim_{area}": summary.ssim}
    metrics |= drift_metrics(one.drift for one in measured)
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def write_report(validation: Path, step: int, measured: Sequence[Measured]) -> NDArray[np.uint8]:
    """Write validation/step-*/images.png and scores.json; returns the contact sheet.

    Args:
        validation: folder of all validations of the run.
        step: names the folder, which is replaced if it exists.
        measured: what to show.
    """
    sheet = contact_sheet([one.images for one in measured])
    sweep(validation, r"step-\d+", _FILES.__contains__)
    with whole_folder(validation / f"step-{step:08d}", _FILES.__contains__) as folder:
        Image.fromarray(sheet).save(folder / IMAGES)
        scores = [{"patch_id": one.patch_id, **{area: one.scores[area] for area in AREAS}} for one in measured]
        (folder / SCORES).write_text(as_json(scores), encoding="utf-8")
    return sheet
