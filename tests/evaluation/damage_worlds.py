"""Toy pairs: a grey square on dark ground, repainted in the post image in the colour of its damage."""

import numpy as np
from numpy.typing import NDArray

from evaluation.damage.examples import Pair, Source

SIDE = 32
COLOURS = {1: (130, 130, 130), 2: (220, 220, 60), 3: (60, 60, 230), 4: (230, 40, 40)}


def toy_pair(seed: int) -> Pair:
    """One square of 10 to 16 px, classes in turn."""
    rng = np.random.default_rng(seed)
    pre: NDArray[np.uint8] = rng.integers(20, 60, (SIDE, SIDE, 3)).astype(np.uint8)
    damage = np.zeros((SIDE, SIDE), np.uint8)
    size = int(rng.integers(10, 17))
    top, left = rng.integers(0, SIDE - size, 2)
    square = np.s_[top : top + size, left : left + size]
    post = pre.copy()
    kind = 1 + seed % 4
    pre[square], post[square], damage[square] = COLOURS[1], COLOURS[kind], kind
    return Pair(pre, post, damage)


def toy_source(seeds: range, name: str = "real") -> Source:
    """Toy pairs of some seeds."""
    pairs = [toy_pair(seed) for seed in seeds]
    return Source(name, [lambda pair=pair: pair for pair in pairs])  # type: ignore[misc]
