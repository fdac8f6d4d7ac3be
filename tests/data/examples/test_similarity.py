"""Numbers a reader can check by hand, and against skimage and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from data.examples.similarity import PSNR_CAP_DB, Score, psnr_db, score, summarise

SIDE = 16


def grey(value: int) -> NDArray[np.uint8]:
    """A flat image."""
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def noise(seed: int, side: int = 32) -> NDArray[np.uint8]:
    """A random image."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_error_over_regions_by_hand() -> None:
    """Four pixels of 51 grey levels in one channel: 0.2 squared, over 3 channels."""
    truth, image = grey(100), grey(100)
    image[:2, :2, 0] = 151
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:2, :4] = True  # eight pixels, four of them wrong
    scores = score(image, truth, {"whole": np.ones_like(inside), "inside": inside, "outside": ~inside})
    assert scores["inside"].mse == pytest.approx(0.04 * 4 / (8 * 3))
    assert scores["whole"].mse == pytest.approx(0.04 * 4 / (256 * 3))
    assert scores["inside"].psnr == pytest.approx(10 * math.log10(6 / 0.04))
    assert (scores["outside"].mse, scores["outside"].psnr) == (0.0, PSNR_CAP_DB)
    assert [scores[name].pixels for name in ("whole", "inside", "outside")] == [256, 8, 248]


def test_empty_region_is_nan() -> None:
    """No pixel, no number."""
    empty = score(grey(0), grey(9), {"inside": np.zeros((SIDE, SIDE), bool)})["inside"]
    assert empty.pixels == 0
    assert all(math.isnan(value) for value in (empty.mse, empty.psnr, empty.ssim))


def test_region_at_the_very_edge_has_no_ssim() -> None:
    """Where the window hangs over the image there is an error but no structure."""
    edge = np.zeros((SIDE, SIDE), bool)
    edge[:3] = True
    one = score(grey(0), grey(255), {"edge": edge})["edge"]
    assert one.mse == 1.0
    assert one.psnr == 0.0
    assert math.isnan(one.ssim)


def test_whole_ssim_is_that_of_skimage() -> None:
    """Over the whole image the mean of our map is skimage's own value, for unlike and alike images."""
    truth = noise(0)
    for image in (noise(1), (truth // 2 + noise(2) // 8).astype(np.uint8), truth):
        expected = structural_similarity(
            image, truth, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        ours = score(image, truth, {"whole": np.ones((32, 32), bool)})["whole"].ssim
        assert ours == pytest.approx(expected, abs=1e-12)


def test_against_torchmetrics() -> None:
    """A second implementation of all three."""
    metrics = pytest.importorskip("torchmetrics.functional.image")
    truth = noise(0)
    image = (truth.astype(float) * 0.7 + noise(1) * 0.3).astype(np.uint8)
    one = score(image, truth, {"whole": np.ones((32, 32), bool)})["whole"]
    ours, real = (torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255 for pixels in (image, truth))
    assert one.mse == pytest.approx(float(((ours - real) ** 2).mean()))
    assert one.psnr == pytest.approx(float(metrics.peak_signal_noise_ratio(ours, real, data_range=1.0)), abs=1e-4)
    _, full = metrics.structural_similarity_index_measure(ours, real, data_range=1.0, return_full_image=True)
    # Their summary takes the edge in; ours, skimage's and Wang's do not.
    assert one.ssim == pytest.approx(float(full[..., 5:-5, 5:-5].mean()), abs=1e-9)


def test_summary_pools_error_and_averages_the_rest() -> None:
    """A patch of 30 pixels weighs thrice one of 10 in the error; one without the region does not count."""
    nan = math.nan
    scores = [Score(30, 0.1, 10.0, 0.2), Score(10, 0.3, 20.0, nan), Score(0, nan, nan, nan)]
    summary = summarise(scores)
    assert (summary.patches, summary.pixels) == (2, 40)
    assert summary.mse == pytest.approx(0.15)
    assert summary.psnr == 15.0
    assert summary.ssim == pytest.approx(0.2)
    assert summarise(scores[2:]).patches == 0


def test_psnr() -> None:
    """1/100 of the squared range is 20 dB; nothing exceeds the cap."""
    assert psnr_db(0.01) == pytest.approx(20.0)
    assert psnr_db(1e-30) == PSNR_CAP_DB
