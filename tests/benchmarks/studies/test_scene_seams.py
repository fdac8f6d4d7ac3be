"""The seam measure sees a seam and nothing else."""

import numpy as np

from benchmarks.studies.scene_seams import borders, seam
from generate.scenes.windows import Grid


def test_a_seam_is_seen() -> None:
    """Noise has none; the same noise with every second tile a few grey levels brighter has."""
    pixels = np.random.default_rng(0).integers(80, 160, (256, 256, 3)).astype(np.uint8)
    columns, rows = borders(Grid(32, 32, side=8, stride=8), 8)
    assert columns == rows == [0, 64, 128, 192, 256]
    clean = seam(pixels, columns, rows, cell=8)
    assert abs(clean.z) < 3
    assert abs(clean.ratio - 1) < 0.05
    tiles = (np.indices((256, 256)) // 64).sum(axis=0) % 2
    broken = seam((pixels + 12 * tiles[..., None]).astype(np.uint8), columns, rows, cell=8)
    assert broken.z > 4
    assert broken.ratio > 1.02


def test_the_decoders_own_pattern_is_no_seam() -> None:
    """Steps at every multiple of eight, borders among them."""
    pixels = np.random.default_rng(0).integers(80, 160, (256, 256, 3))
    pixels[:, 7::16] += 30
    pixels[:, 15::16] += 30
    found = seam(pixels.astype(np.uint8), *borders(Grid(32, 32, side=8, stride=4), 8), cell=8)
    assert abs(found.z) < 3
