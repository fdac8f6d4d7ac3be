"""Which ground, disaster and severity a tile gets: a pure function of (plan, seed, number of the tile).

Places are drawn without repetition and without a list: a permutation of all cells of a region that is computed for one
number at a time. The tiles of a region take turns in it, so no two of them look at the same ground, until there are
more tiles than cells; then the same ground gets another disaster.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from data.examples.sampler import example_rng
from generate.region.plan import Plan

ROUNDS = 4  # of a Feistel network; enough to look shuffled


@dataclass(frozen=True)
class Draw:
    """What a tile is to show, before any ground is looked at."""

    number: int
    region: int
    disaster: str
    severity: int  # 0 slight, 1 moderate, 2 severe
    cells: tuple[int, ...]  # of its region, to be tried in this order


def draw(plan: Plan, cells: Sequence[int], number: int) -> Draw:
    """Tile `number` of a plan.

    Args:
        plan: with its seed.
        cells: how many each region has.
        number: 0 to plan.pairs - 1.
    """
    region, index, tiles = _place_in_region(plan, number)
    total = cells[region]
    rng = example_rng(plan.seed, number)
    shares = plan.regions[region].disasters
    names = sorted(shares)
    disaster = names[rng.choice(len(names), p=_normal([shares[name] for name in names]))]
    severity = int(rng.choice(3, p=plan.severity.shares()))
    if index < total:
        tried = range(index, total, tiles)[: plan.tries]
    else:
        tried = range(index % total, index % total + 1)
    places = tuple(shuffled(i, total, f"{plan.seed} {plan.regions[region].name}") for i in tried)
    return Draw(number, region, disaster, severity, places)


def shuffled(index: int, total: int, key: str) -> int:
    """Where a permutation of range(total), one for each key, takes an index: a Feistel network, walked back inside."""
    half = max(1, (max(total - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for turn in range(ROUNDS):
            word = hashlib.blake2b(f"{key} {turn} {right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(word, "big") & mask)
        index = left << half | right
        if index < total:
            return index


def apportioned(pairs: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to `pairs`, by largest remainders."""
    exact = [pairs * share for share in _normal(shares)]
    counts = [int(one) for one in exact]
    order = sorted(range(len(exact)), key=lambda i: (counts[i] - exact[i], i))
    for i in order[: pairs - sum(counts)]:
        counts[i] += 1
    return counts


def per_region(plan: Plan) -> list[int]:
    """Tiles of each region."""
    return list(_ends(plan.pairs, tuple(region.share for region in plan.regions))[0])


def _place_in_region(plan: Plan, number: int) -> tuple[int, int, int]:
    """The region of a tile, its index there, and how many tiles the region has; regions alternate at random."""
    counts, starts = _ends(plan.pairs, tuple(region.share for region in plan.regions))
    position = shuffled(number, plan.pairs, f"{plan.seed} regions")
    region = max(i for i, start in enumerate(starts) if start <= position and counts[i])
    return region, position - starts[region], counts[region]


@lru_cache(maxsize=4)
def _ends(pairs: int, shares: tuple[float, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    counts = apportioned(pairs, shares)
    return tuple(counts), tuple(sum(counts[:i]) for i in range(len(counts)))


def _normal(shares: Sequence[float]) -> list[float]:
    return [share / sum(shares) for share in shares]


def expected(plan: Plan) -> Iterator[tuple[str, Mapping[str, float]]]:
    """The share of each disaster in every region, for the report."""
    for region in plan.regions:
        names = sorted(region.disasters)
        yield region.name, dict(zip(names, _normal([region.disasters[name] for name in names]), strict=True))
