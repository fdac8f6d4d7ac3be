"""Quality of the autoencoder on images of held-out scenes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from train.tiny.images import Images
from train.watching.contact_sheet import contact_sheet

BLOCKS_PX = (8, 32)  # a house; a quarter of the image
BATCH = 16
AMPLIFIED = 4  # on the contact sheet, differences are amplified by this factor


@torch.no_grad()
def reconstruction_report(
    vae: AutoencoderKL, images: Images, count: int, shown: int, folder: Path, stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Decode the posterior means of evenly spread images; write the contact sheet `reconstructions.png`.

    Returns:
        See `error_report`; None if interrupted.
    """
    numbers, pairs = images.evenly(count), []
    for first in range(0, len(numbers), BATCH):
        if stop():
            return None
        real = images.batch(numbers[first : first + BATCH])
        pairs.append((real, vae.decode(vae.encode(real).latent_dist.mean).sample.clamp(-1, 1)))
    real, ours = (torch.cat(each) for each in zip(*pairs, strict=True))
    rows = [(as_pixels(real[i]), as_pixels(ours[i])) for i in evenly(len(real), shown)]
    write_sheet(folder / "reconstructions.png", rows)
    return error_report(ours, real)


def error_report(ours: Tensor, real: Tensor) -> dict[str, float]:
    """The squared error pooled over all images, as PSNR, and its distribution over scales.

    Args:
        ours: (N, 3, H, W) in [-1, 1].
        real: the same.

    Returns:
        psnr: dB, of the mean squared error over all pixels.
        psnr_8px, psnr_32px: of the means of blocks of that side, i.e. without finer detail.
        error_above_32px, error_8_to_32px, error_below_8px: shares of the squared error, which add up to 1.
        sharpness: mean absolute gradient of ours over that of the real ones; 1 = as sharp.
    """
    error = ours.double() - real.double()
    total, (fine, coarse) = mean_square(error), [mean_square(F.avg_pool2d(error, side)) for side in BLOCKS_PX]
    return {
        "psnr": psnr(total),
        "psnr_8px": psnr(fine),
        "psnr_32px": psnr(coarse),
        "error_above_32px": coarse / total,
        "error_8_to_32px": (fine - coarse) / total,
        "error_below_8px": 1 - fine / total,
        "sharpness": gradient(ours) / max(gradient(real), 1e-12),  # uniform images have none
    }


def mean_square(error: Tensor) -> float:
    """Mean square over all elements."""
    return error.square().mean().item()


def psnr(squared: float) -> float:
    """PSNR in dB of a mean squared error on [-1, 1]; at most 100."""
    return float(-10 * np.log10(max(squared / 4, 1e-10)))


def gradient(images: Tensor) -> float:
    """Mean absolute difference of neighbours, down and to the right."""
    return sum(images.diff(dim=axis).abs().mean().item() for axis in (2, 3))


def as_pixels(image: Tensor) -> NDArray[np.uint8]:
    """(3, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()


def evenly(length: int, count: int) -> list[int]:
    """`count` positions, evenly spread."""
    return [int(position) for position in np.linspace(0, length - 1, min(count, length))]


def write_sheet(path: Path, rows: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> None:
    """Write rows of real image, ours and difference, grey where equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [
        (real, ours, np.clip(128 + AMPLIFIED * (ours.astype(int) - real), 0, 255).astype(np.uint8))
        for real, ours in rows
    ]
    Image.fromarray(contact_sheet(shown, ("real", "ours", f"difference x {AMPLIFIED}"))).save(path)
