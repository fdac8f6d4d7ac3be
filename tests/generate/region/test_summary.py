"""What a summary counts."""

import numpy as np

from generate.region.summary import near_duplicates


def test_near_duplicates_are_counted_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 60)]
    hashes += [hashes[3] ^ 0b111, hashes[9], hashes[20] ^ (1 << 63 | 1 << 40), hashes[30] ^ 0b11111]
    assert near_duplicates(hashes) == counted(hashes) == 3


def test_of_many_alike_each_counts_once() -> None:
    """Hashes that agree in most bits fill the same bands; equal ones too."""
    rng = np.random.default_rng(1)
    hashes = [
        int(low) << int(shift) for low, shift in zip(rng.integers(0, 2**12, 300), rng.integers(0, 50, 300), strict=True)
    ]
    assert near_duplicates([*hashes, *[7] * 5]) == counted([*hashes, *[7] * 5]) > 20


def counted(hashes: list[int]) -> int:
    """By definition."""
    return sum(any((one ^ other).bit_count() <= 3 for other in hashes[:i]) for i, one in enumerate(hashes))
