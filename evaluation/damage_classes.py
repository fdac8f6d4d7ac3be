"""Regions of single damage classes: uncovered pixels of which at least half is building of that class."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.examples.regions import DAMAGED_SHARE, Mask, block_mean, foreseeable
from data.schema import DAMAGE_VALUES

DAMAGE_REGIONS = tuple(name for name in DAMAGE_VALUES if name != "un-classified")


def damage_regions(row: Mapping[str, Any], resolution: int) -> dict[str, Mask]:
    """The masks of a dataset row, each (resolution, resolution); all empty without a damage_mask."""
    if row["damage_mask"] is None:
        return dict.fromkeys(DAMAGE_REGIONS, np.zeros((resolution, resolution), np.bool_))
    classes = np.asarray(row["damage_mask"])
    shares = {name: block_mean(classes == DAMAGE_VALUES[name], resolution) for name in DAMAGE_REGIONS}
    valid = foreseeable(row, resolution)
    return {name: (share >= DAMAGED_SHARE) & valid for name, share in shares.items()}
