"""Where an error lies and how large it is, on images whose errors are known in closed form."""

import numpy as np
import pytest
import torch

from train.tiny.quality import error_report


def test_a_shade_is_an_error_of_large_blocks() -> None:
    real = torch.zeros(2, 3, 64, 64, dtype=torch.float64)
    found = error_report(real + 0.2, real)
    assert found["psnr"] == pytest.approx(10 * np.log10(4 / 0.04), abs=1e-4)
    assert found["error_above_32px"] == pytest.approx(1, abs=1e-12)


def test_scales_are_told_apart() -> None:
    """A chequerboard of single pixels, one of 8 px blocks, and a shade, with squares 1, 4 and 9 parts of the error."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    pixels, blocks = ((-1.0) ** (rows // side + columns // side) for side in (1, 8))
    error = (0.01 * pixels + 0.02 * blocks + 0.03).expand(1, 3, 64, 64)
    found = error_report(error, torch.zeros(1, 3, 64, 64))
    shares = [found[name] for name in ("error_below_8px", "error_8_to_32px", "error_above_32px")]
    assert shares == pytest.approx([1 / 14, 4 / 14, 9 / 14], rel=1e-4)
    assert found["psnr"] == pytest.approx(-10 * np.log10(14e-4 / 4), abs=1e-3)
    assert found["psnr_32px"] == pytest.approx(-10 * np.log10(9e-4 / 4), abs=1e-3)


def test_psnr_is_of_the_pooled_error_not_a_mean_of_decibels() -> None:
    real = torch.zeros(2, 3, 32, 32)
    ours = real + torch.tensor([0.02, 0.2]).view(2, 1, 1, 1)
    assert error_report(ours, real)["psnr"] == pytest.approx(-10 * np.log10((0.0004 + 0.04) / 2 / 4), abs=1e-3)


def test_half_the_contrast_is_half_as_sharp() -> None:
    real = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert error_report(real / 2, real)["sharpness"] == pytest.approx(0.5)
