"""The quality columns of a whole build added up: as `dataset.json` has them."""

import math
from typing import Any

import numpy as np

from data.quality.duplicates import Hashed, Same, near_duplicates

LISTED_DUPLICATES = 1000
# Of these the manifest gives median, 95th percentile and maximum.
_SPREADS = (
    "nodata_fraction",
    "cloud_pre",
    "cloud_post",
    "haze_pre",
    "haze_post",
    "sharpness_pre",
    "sharpness_post",
    "radiometric_gap",
)


class QualityTally:
    """Collects the quality columns of rows."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._values: dict[str, list[float]] = {name: [] for name in _SPREADS}
        self._shifts: list[float] = []
        self._sources = {"patch": 0, "scene": 0, "unknown": 0}
        self._scenes: dict[str, tuple[bool, bool]] = {}  # scene -> its shift is known, it was moved
        self._hashed: list[Hashed] = []

    def add(self, split: str, file: str, row: dict[str, Any]) -> None:
        """Add a patch that a shard holds."""
        for name in _SPREADS:
            self._values[name].append(row[name])
        self._shifts.append(math.hypot(*row["shift_px"]))
        self._sources[row["shift_source"] or "unknown"] += 1
        self._scenes[row["scene_id"]] = (not math.isnan(row["scene_shift_px"][0]), any(row["moved_px"]))
        known = (row["patch_id"], row["scene_id"], split, row["phash_pre"], row["pre_sha256"], file)
        self._hashed.append(Hashed(*known))

    def statistics(self) -> dict[str, dict[str, float]]:
        """The distribution of each quantity over the patches that have it."""
        return {"shift_px": _spread(self._shifts)} | {name: _spread(self._values[name]) for name in _SPREADS}

    def registration(self) -> dict[str, Any]:
        """How many shifts are known, and how many scenes were moved."""
        return {
            "patches_by_shift_source": dict(self._sources),
            "scenes_with_known_shift": sum(known for known, _ in self._scenes.values()),
            "scenes_moved": sum(moved for _, moved in self._scenes.values()),
        }

    def duplicates(self, same: Same) -> dict[str, Any]:
        """Patches that show the same pre image as one of another scene."""
        found = near_duplicates(self._hashed, same)
        return {"patches": len(found), "listed": found[:LISTED_DUPLICATES]}

    def look_alikes(self, same: Same) -> list[dict[str, str | int]]:
        """Patches that show the same pre image as one of another split."""
        return near_duplicates(self._hashed, same, across_splits=True)


def _spread(values: list[float]) -> dict[str, float]:
    known = np.array([value for value in values if not np.isnan(value)])
    if not known.size:
        return {}
    numbers = {"median": np.median(known), "p95": np.percentile(known, 95), "max": known.max()}
    return {name: round(float(number), 4) for name, number in numbers.items()}
