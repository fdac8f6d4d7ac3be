"""Which shift a patch is given: its own, its scene's, or none."""

import math

import numpy as np
from scipy import ndimage

from data.patches.tiles import grid
from data.quality.image import Mask, Pixels
from data.quality.pair import quality_columns, study_pair
from data.sources.labels import Phase

NO_MASK: dict[Phase, Mask | None] = {"pre": None, "post": None}


def test_a_patch_far_from_its_scene_takes_the_scenes_shift() -> None:
    """Nine patches of one scene, three of them moved: by 14 px, by 2 px, by 13 px."""
    noise = np.random.default_rng(1).standard_normal((768, 768, 3))
    pre: Pixels = np.clip(128 + 300 * ndimage.gaussian_filter(noise, (2, 2, 0)), 1, 255).astype(np.uint8)
    post = np.clip(pre * 0.9 + np.random.default_rng(0).normal(0, 3, pre.shape), 1, 255).astype(np.uint8)
    for (row, col), by in {(0, 0): (0, 14), (0, 256): (2, 0), (512, 512): (-10, 9)}.items():
        patch = slice(row, row + 256), slice(col, col + 256)
        post[patch] = np.roll(post[patch], by, axis=(0, 1))
    pair = study_pair({"pre": pre, "post": post}, NO_MASK, 256, align=False)
    found = {(window.row, window.col): quality_columns(pair, window) for window in grid(768, 768, 256)}
    assert pair.shift.confident and pair.shift.length_px < 0.3
    assert found[0, 256]["shift_source"] == "patch" and math.dist(found[0, 256]["shift_px"], (-2, 0)) < 0.3
    for place in ((0, 0), (512, 512)):
        assert found[place]["shift_source"] == "scene" and math.hypot(*found[place]["shift_px"]) < 0.3
