"""What a complete set holds, gathered from its records one at a time."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.examples.invented_damage import CLASSES
from generate.region.records import Record

SHOWN = 12  # pairs in the report
MAP_POINTS = 3000
ALIKE_BITS = 3  # hashes of 64 bits that differ in so few belong to near-duplicates
_BANDS = 4  # more than ALIKE_BITS: such hashes agree in one of them


@dataclass
class Summary:
    """Counts of a set; its size in memory does not grow with the tiles, but for 40 bytes each."""

    tiles: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    by_region: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    by_disaster: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    classes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))  # by disaster
    severities: Counter[int] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seen: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)  # lon, lat of kept pairs
    hashes: list[int] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)  # scene ids

    @property
    def kept(self) -> int:
        """Pairs in the set."""
        return self.outcomes["kept"]


def summarise(records: Iterable[Record], tiles: int) -> Summary:
    """Go through all records of a set of so many tiles."""
    found = Summary(tiles)
    step = max(1, tiles // SHOWN)
    for record in records:
        outcome = record["outcome"]
        found.outcomes[outcome] += 1
        counted = [outcome] + ["remade"] * (outcome == "kept" and record["attempts"] > 1)
        found.by_region[record["region"]].update(counted)
        found.by_disaster[record["disaster"]].update(counted)
        found.passed_over.update(record["passed_over"])
        found.faults.update(reason.partition(":")[0] for reason in record["rejected"])
        if outcome != "kept":
            continue
        found.classes[record["disaster"]].update(record["counts"])
        found.severities[record["severity"]] += 1
        found.places.append((record["lon"], record["lat"]))
        if record["phash"]:
            found.hashes.append(int(record["phash"], 16))
        if "seen" in record:
            found.seen.append(record["seen"])
            found.outside.append(record["outside"])
        if len(found.examples) < SHOWN and record["tile"] >= len(found.examples) * step:
            found.examples.append(record["scene_id"])
    return found


def class_shares(found: Summary) -> list[float]:
    """Of the four classes among all buildings of the set."""
    total: Counter[str] = sum(found.classes.values(), Counter())
    return [total[name] / max(1, sum(total.values())) for name in CLASSES]


def near_duplicates(hashes: list[int]) -> int:
    """Pictures that look like an earlier one: perceptual hashes that differ in at most ALIKE_BITS bits."""
    _, first = np.unique(np.array(hashes, np.uint64), return_index=True)
    values = np.array(hashes, np.uint64)[np.sort(first)]  # in their order; equal ones are counted already
    alike = np.zeros(len(values), bool)
    for band in range(_BANDS):
        keys = (values >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.argsort(keys, kind="stable")
        for lag in range(1, len(values)):  # each with the one so many places earlier, as long as any agree in the band
            agree = np.flatnonzero(keys[order[lag:]] == keys[order[:-lag]])
            if not len(agree):
                break
            later, earlier = order[lag:][agree], order[:-lag][agree]
            alike[later] |= _bits(values[later] ^ values[earlier]) <= ALIKE_BITS
    return len(hashes) - len(values) + int(alike.sum())


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.asarray(np.unpackbits(values.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1, dtype=np.int64))
