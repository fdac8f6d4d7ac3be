"""The quantities that are measured: their names, which way is better, how they are printed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from data.examples.regions import REGIONS


@dataclass(frozen=True)
class Metric:
    """One quantity."""

    name: str
    lower_is_better: bool | None  # None: neither is
    digits: int  # after the point
    pooled: bool = False  # over all pixels; else the mean over patches


# Against the real post image, over any region.
PIXEL_METRICS = {
    "mse": Metric("MSE", True, 5, pooled=True),
    "psnr": Metric("PSNR", False, 2),
    "ssim": Metric("SSIM", False, 3),
}
# Of whole images, by a network: LPIPS and DINOv3 against the real post image, CLIP against the caption and, for
# comparison, against the caption of another patch.
NETWORK_METRICS = {
    "lpips_vgg": Metric("LPIPS (VGG)", True, 3),
    "lpips_alex": Metric("LPIPS (Alex)", True, 3),
    "clip": Metric("CLIP-score", False, 2),
    "clip_shuffled": Metric("CLIP, other captions", None, 2),
    "dinov3_sat": Metric("DINOv3-sat", False, 3),
}
# Of all images of a method together.
SET_METRICS = {"fid": Metric("FID", True, 2), "kid": Metric("KID x 1000", True, 2), "is": Metric("IS", False, 2)}
# Of all images of a method together, by a damage model: the score of the xView2 challenge and its parts.
DAMAGE_METRICS = {
    "score": Metric("score", False, 3),
    "localisation_f1": Metric("localisation F1", False, 3),
    "damage_f1": Metric("damage F1", False, 3),
    "no-damage_f1": Metric("no-damage F1", False, 3),
    "minor-damage_f1": Metric("minor F1", False, 3),
    "major-damage_f1": Metric("major F1", False, 3),
    "destroyed_f1": Metric("destroyed F1", False, 3),
}
METRICS = PIXEL_METRICS | NETWORK_METRICS | SET_METRICS | DAMAGE_METRICS

PIXEL_COLUMNS = [(region, metric) for region in REGIONS for metric in PIXEL_METRICS]
NETWORK_COLUMNS = [("whole", metric) for metric in NETWORK_METRICS]


def number(value: float, metric: str = "mse") -> str:
    """One value as text."""
    return "-" if math.isnan(value) else f"{value:.{METRICS[metric].digits}f}"


def best(values: Iterable[float], metric: str) -> float:
    """The best of the values that exist; NaN if none does, or none is better than another."""
    lower, known = METRICS[metric].lower_is_better, [value for value in values if not math.isnan(value)]
    if lower is None or not known:
        return math.nan
    return min(known) if lower else max(known)
