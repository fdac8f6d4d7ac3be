"""Holes: as stated, the same at every resolution, and the same for a patch."""

import numpy as np
import pytest
from PIL import Image

from data.examples.holes import hole_of, patch_hole, unknown
from data.examples.sampler import example_rng


def test_ellipses_and_edges_by_brute_force() -> None:
    """Pixel by pixel, from the same draws."""
    edges = 0
    for ordinal in range(40):
        rng, side = example_rng(3, ordinal), 12
        clouds = [(rng.random(2), rng.uniform(0.06, 0.25, 2)) for _ in range(rng.integers(1, 4))]
        edge = (rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.35)) if rng.random() < 0.25 else None
        expected = np.zeros((side, side), bool)
        places = [((row + 0.5) / side, (column + 0.5) / side) for row in range(side) for column in range(side)]
        for number, (y, x) in enumerate(places):
            inside = any(sum((np.array([y, x]) - centre) ** 2 / radii**2) < 1 for centre, radii in clouds)
            if edge is not None:
                edges += not number
                towards = np.array([np.sin(edge[0]), np.cos(edge[0])])
                farthest = max((np.array(place) - 0.5) @ towards for place in places)
                inside |= (np.array([y, x]) - 0.5) @ towards > farthest - edge[1]
            expected.flat[number] = inside
        assert np.array_equal(hole_of(example_rng(3, ordinal), side), expected)
    assert 4 <= edges <= 16


def test_the_same_part_at_every_resolution() -> None:
    """Shares of the image differ by the pixels of a border only; some is always left."""
    shares = [[patch_hole(position, side).mean() for side in (64, 256)] for position in range(200)]
    assert np.abs(np.diff(shares)).max() < 0.05 and np.max(shares) < 0.9
    assert np.mean(shares) == pytest.approx(0.14, abs=0.02)


def test_what_shows_no_ground_is_unknown() -> None:
    """A pixel of the small image is known only if all of its block is; pre has no cover."""
    post, cover = np.full((8, 8, 3), 90, np.uint8), np.zeros((8, 8), np.uint8)
    post[:, :2], cover[7, 7] = 0, 1
    row = {"pre": Image.fromarray(post + 1), "post": Image.fromarray(post), "nodata_fraction": 0.25}
    row |= {"cover_mask": Image.fromarray(cover)}
    expected = np.zeros((4, 4), bool)
    expected[:, 0] = expected[3, 3] = True
    assert np.array_equal(unknown(row, "post", 4), expected)
    assert not unknown(row, "pre", 4).any()
    assert not unknown({"post": row["post"], "nodata_fraction": 0.0}, "post", 4).any()
