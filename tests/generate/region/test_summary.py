"""What a summary counts."""

import numpy as np

from generate.region.summary import near_duplicates


def test_near_duplicates_are_counted_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    hashes = [int(value) for value in rng.integers(0, 2**63, 60)]
    hashes += [hashes[3] ^ 0b111, hashes[9], hashes[20] ^ (1 << 63 | 1 << 40), hashes[30] ^ 0b11111]
    expected = sum(any((one ^ other).bit_count() <= 3 for other in hashes[:i]) for i, one in enumerate(hashes))
    assert near_duplicates(hashes) == expected == 3
