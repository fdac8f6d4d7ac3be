"""MSE, PSNR and SSIM of an image against the real one, over any set of pixels, and their summary over patches.

MSE    mean squared difference of pixel values in [0, 1], over pixels and channels. Summary: pooled over all pixels, so
       that a patch with a small changed area weighs little.
PSNR   -10 log10(MSE) in dB. Summary: mean over patches, as is usual.
SSIM   structural similarity (Wang et al. 2004) with their 11 x 11 Gaussian window, mean over channels. The 5 px at the
       edge of the image, where the window extends beyond it, do not count. Summary: mean over patches.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Pixels = NDArray[np.uint8]  # (height, width, 3)
Mask = NDArray[np.bool_]  # (height, width)

SSIM_SIGMA_PX = 1.5
SSIM_MARGIN_PX = 5
PSNR_CAP_DB = 100.0  # of identical pixels, so that a mean stays a number


@dataclass(frozen=True)
class Score:
    """One image over one region; all NaN where the region is empty."""

    pixels: int
    mse: float
    psnr: float  # dB
    ssim: float  # NaN also where the region lies at the very edge


@dataclass(frozen=True)
class Summary:
    """Many patches over one region; NaN where no patch has it."""

    patches: int  # with such a region
    pixels: int
    mse: float
    psnr: float
    ssim: float


def score(image: Pixels, truth: Pixels, regions: Mapping[str, Mask]) -> dict[str, Score]:
    """Measure `image` against `truth` over each region."""
    differences = image.astype(np.int32) - truth
    squared, similarity = (differences**2).sum(axis=-1), ssim_map(image, truth)
    return {name: _score(squared, similarity, mask) for name, mask in regions.items()}


def ssim_map(image: Pixels, truth: Pixels) -> NDArray[np.float64]:
    """(height, width) mean over channels, NaN at the edge."""
    _, full = structural_similarity(
        image,
        truth,
        channel_axis=-1,
        data_range=255,
        gaussian_weights=True,
        sigma=SSIM_SIGMA_PX,
        use_sample_covariance=False,
        full=True,
    )
    similarity = np.full(full.shape[:2], np.nan)
    inner = (slice(SSIM_MARGIN_PX, -SSIM_MARGIN_PX),) * 2
    similarity[inner] = full[inner].mean(axis=-1)
    return similarity


def psnr_db(mse: float) -> float:
    """PSNR of a mean squared error of values in [0, 1]."""
    return PSNR_CAP_DB if mse == 0 else min(PSNR_CAP_DB, -10 * math.log10(mse))


def summarise(scores: Iterable[Score]) -> Summary:
    """Pool the squared error, average the rest; patches without the region do not count."""
    counted = [one for one in scores if one.pixels]
    pixels = sum(one.pixels for one in counted)
    if not counted:
        return Summary(0, 0, math.nan, math.nan, math.nan)
    similar = [one.ssim for one in counted if not math.isnan(one.ssim)]
    return Summary(
        patches=len(counted),
        pixels=pixels,
        mse=sum(one.mse * one.pixels for one in counted) / pixels,
        psnr=sum(one.psnr for one in counted) / len(counted),
        ssim=sum(similar) / len(similar) if similar else math.nan,
    )


def _score(squared: NDArray[np.int32], similarity: NDArray[np.float64], mask: Mask) -> Score:
    pixels = int(mask.sum())
    if not pixels:
        return Score(0, math.nan, math.nan, math.nan)
    mse = int(squared[mask].sum()) / (3 * 255**2 * pixels)
    similar = similarity[mask & ~np.isnan(similarity)]
    return Score(pixels, mse, psnr_db(mse), float(similar.mean()) if similar.size else math.nan)
