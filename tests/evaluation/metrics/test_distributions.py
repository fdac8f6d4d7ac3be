"""FID, KID and IS against their formulas, written down a second time with numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import linalg, special

pytest.importorskip("torchmetrics")

from evaluation.metrics.distributions import frechet_distance, inception_score, kernel_distance

Floats = NDArray[np.float64]


def features(count: int, seed: int, width: int = 6) -> Floats:
    """Correlated Gaussian features."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + seed


def reference_fid(one: Floats, other: Floats) -> float:
    """From means and covariances, with scipy's matrix square root (Heusel et al. 2017, equation 6)."""
    covariances = [np.cov(part, rowvar=False) for part in (one, other)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    mean = ((one.mean(0) - other.mean(0)) ** 2).sum()
    return float(mean + np.trace(covariances[0] + covariances[1] - 2 * root))


def reference_kid(one: Floats, other: Floats) -> float:
    """The unbiased estimate of MMD^2 with the cubic kernel, term by term (Binkowski et al. 2018, equation 4)."""

    def kernel(x: Floats, y: Floats) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    m, n = len(one), len(other)
    within = sum(kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j) / (m * (m - 1))
    within += sum(kernel(x, y) for i, x in enumerate(other) for j, y in enumerate(other) if i != j) / (n * (n - 1))
    return within - 2 * sum(kernel(x, y) for x in one for y in other) / (m * n)


def reference_is(logits: Floats) -> float:
    """exp of the mean divergence of each image's classes from those of all (Salimans et al. 2016)."""
    classes = special.softmax(logits, axis=1)
    return float(np.exp(special.rel_entr(classes, classes.mean(0)).sum(axis=1).mean()))


def test_fid() -> None:
    """Two sets of different size, and a set against itself."""
    one, other = features(50, 0), features(40, 1)
    assert frechet_distance(torch.tensor(one), torch.tensor(other)) == pytest.approx(
        reference_fid(one, other), rel=1e-6
    )
    assert frechet_distance(torch.tensor(one), torch.tensor(one)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("sizes", [(30, 30), (30, 17), (12, 40)])
def test_kid(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of both sets counts, in blocks of rows or not."""
    monkeypatch.setattr("evaluation.metrics.distributions.BLOCK", 7)
    one, other = features(sizes[0], 0), features(sizes[1], 1)
    found = kernel_distance(torch.tensor(one), torch.tensor(other))
    assert found == pytest.approx(1000 * reference_kid(one, other), rel=1e-6)


def test_kid_is_that_of_torchmetrics() -> None:
    """Of sets that are equal in size and taken whole, where it draws nothing."""
    from torchmetrics.image.kid import poly_mmd

    one, other = (torch.tensor(features(40, seed)) for seed in (2, 3))
    assert kernel_distance(one, other) == pytest.approx(1000 * float(poly_mmd(one, other)), rel=1e-9)


def test_is_has_no_jump_at_a_hundred_images() -> None:
    """One part, whatever the number of images, up to where each of ten parts is large."""
    for count in (60, 99, 100, 1000):
        logits = features(count, 0)
        assert inception_score(torch.tensor(logits)) == pytest.approx(reference_is(logits), rel=1e-6)


def test_is_of_many_images_is_the_mean_of_ten_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled first, because patches are sorted by place; the seven that are left over do not count."""
    monkeypatch.setattr("evaluation.metrics.distributions.IS_SPLIT_FROM", 100)
    logits = features(107, 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = logits[:100][torch.randperm(100).numpy()].reshape(10, 10, -1)
    expected = np.mean([reference_is(part) for part in parts])
    assert inception_score(torch.tensor(logits)) == pytest.approx(expected, rel=1e-6)


def test_random_draws_are_the_same_every_time_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The global generator is left as it was."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    monkeypatch.setattr("evaluation.metrics.distributions.IS_SPLIT_FROM", 100)
    found = [inception_score(torch.tensor(features(200, 0))) for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_image_is_no_set() -> None:
    """NaN, not a crash."""
    one, many = torch.tensor(features(1, 0)), torch.tensor(features(9, 1))
    assert math.isnan(frechet_distance(many, one))
    assert math.isnan(kernel_distance(many, one))
    assert math.isnan(inception_score(one))
