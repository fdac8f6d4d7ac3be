"""Parts of an image that are taken away, so that a network learns to fill them: clouds and the edge of a swath."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.examples.regions import block_mean
from data.examples.sampler import example_rng
from data.quality.image import nodata_mask

MOST_CLOUDS = 3
RADII = (0.06, 0.25)  # of a cloud, along either axis, in sides of the image
EDGE_SHARE = 0.25  # of images, which also end at a straight line
DEEPEST_EDGE = 0.35  # in sides of the image, from the border or corner that it cuts off
PATCH_SEED = 0  # of the holes of a dataset's patches, where no training draws them

Mask = NDArray[np.bool_]


def hole_of(rng: np.random.Generator, resolution: int) -> Mask:
    """(resolution, resolution) one to three ellipses and, in a quarter of the images, all beyond a straight line."""
    centres = (np.arange(resolution) + 0.5) / resolution
    y, x = centres[:, None], centres[None, :]
    hole = np.zeros((resolution, resolution), np.bool_)
    for _ in range(rng.integers(1, MOST_CLOUDS + 1)):
        (centre_y, centre_x), (radius_y, radius_x) = rng.random(2), rng.uniform(*RADII, 2)
        hole |= ((y - centre_y) / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1
    if rng.random() < EDGE_SHARE:
        angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0, DEEPEST_EDGE)
        across = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        hole |= across > across.max() - depth
    return hole


def patch_hole(position: int, resolution: int) -> Mask:
    """The hole of a dataset's patch outside of training: always the same."""
    return hole_of(example_rng(PATCH_SEED, position), resolution)


def unknown(row: Mapping[str, Any], phase: str, resolution: int) -> Mask:
    """(resolution, resolution) where a dataset row's image of a phase shows no ground: no data, or (post) its cover."""
    missing = block_mean(nodata_mask(np.asarray(row[phase])), resolution) > 0 if row["nodata_fraction"] else False
    covered = row.get("cover_mask") if phase == "post" else None
    hidden = block_mean(np.asarray(covered), resolution) > 0 if covered is not None else False
    return np.zeros((resolution, resolution), np.bool_) | missing | hidden


def as_image(hole: Mask) -> Image.Image:
    """As `Condition.shown` reads it: 255 in the hole."""
    return Image.fromarray(hole * np.uint8(255))
