"""The gauge of buildings, on pictures of known numbers of houses."""

from typing import Any

import numpy as np
from PIL import Image

from evaluation.prompts.buildings import learned

SIDE = 96


def picture(houses: int, seed: int) -> Image.Image:
    """Noisy ground with bright squares."""
    rng = np.random.default_rng(seed)
    image = rng.normal(90, 4, (SIDE, SIDE, 3))
    for _ in range(houses):
        y, x = rng.integers(0, SIDE - 7, 2)
        image[y : y + 7, x : x + 7] += 90
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def row(houses: int, seed: int) -> dict[str, Any]:
    """A labelled pair; a building that counts elsewhere is not counted."""
    buildings = [{"counted": True}] * houses + [{"counted": False}]
    return {"pre": picture(houses, seed), "post": picture(houses, seed + 500), "buildings": buildings}


def test_more_houses_more_counted() -> None:
    """Learned on some, it ranks others; its own claim is what scipy says of them."""
    numbers = list(range(0, 24, 2)) * 3
    rows = [row(houses, seed) for seed, houses in enumerate(numbers)]
    gauge = learned(rows[::2], rows[1::2], SIDE)
    assert gauge.agreement["images"] == 36
    assert gauge.agreement["rank_correlation"] > 0.9
    few, many = (np.mean([gauge.count(np.asarray(picture(n, 900 + i))) for i in range(4)]) for n in (2, 20))
    assert 0 <= few < 6 < 12 < many
