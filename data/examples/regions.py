"""Which pixels count: the whole patch, inside its changed area, outside of it.

Real change is seldom marked pixel by pixel, so the two areas are drawn conservatively and what is neither surely
changed nor surely unchanged belongs to neither. Masks are brought to the images' size by the mean of each block, as
the images are: a pixel of the small image shows the mean of its block, and so does its mask.

With a `change_mask` (simulated data: the true strength of change, 0..255):
    inside   strength >= 64, a quarter of full change: what a person sees as changed
    outside  strength < 8: below the noise of the sensor
Otherwise with a `damage_mask`:
    inside   at least half of the block is minor, major or destroyed building
    outside  no part of the block is; ground and undamaged buildings. Floods, ash or seasons may have changed it
             all the same: the labels of xBD say nothing of them
    neither  blocks with un-classified buildings (255)
Pixels without data, exactly black in either image, are in neither area, nor is what the least part of a `cover_mask`
covers (simulated data: cloud, smoke, missing data): no model can foresee it. Simulated data made before there was one
count cloud as change.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.schema import DAMAGE_VALUES

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

REGIONS = ("whole", "inside", "outside")

CHANGED_FROM = 64
UNCHANGED_BELOW = 8
DAMAGED_SHARE = 0.5
DAMAGED = tuple(DAMAGE_VALUES[name] for name in ("minor-damage", "major-damage", "destroyed"))
UNCLASSIFIED = DAMAGE_VALUES["un-classified"]


def regions_of(row: Mapping[str, Any], resolution: int) -> dict[str, Mask]:
    """The three masks of a dataset row, each (resolution, resolution); an area that is not known is empty."""
    whole = np.ones((resolution, resolution), np.bool_)
    pre, post = np.asarray(row["pre"]), np.asarray(row["post"])
    black = [(image[..., 0] | image[..., 1] | image[..., 2]) == 0 for image in (pre, post)]  # faster than .all(axis=-1)
    valid = block_mean(black[0] | black[1], resolution) == 0
    valid &= foreseeable(row, resolution)
    if row["change_mask"] is not None:
        strength = block_mean(np.asarray(row["change_mask"]), resolution)
        inside, outside = strength >= CHANGED_FROM, strength < UNCHANGED_BELOW
    elif row["damage_mask"] is not None:
        classes = np.asarray(row["damage_mask"])
        damaged = block_mean(np.isin(classes, DAMAGED), resolution)
        valid &= block_mean(classes == UNCLASSIFIED, resolution) == 0
        inside, outside = damaged >= DAMAGED_SHARE, damaged == 0
    else:
        inside = outside = ~whole
    return {"whole": whole, "inside": inside & valid, "outside": outside & valid}


def foreseeable(row: Mapping[str, Any], resolution: int) -> Mask:
    """(resolution, resolution) where nothing covers the ground of a dataset row; everywhere if no mask tells."""
    if row.get("cover_mask") is None:
        return np.ones((resolution, resolution), np.bool_)
    return np.asarray(block_mean(np.asarray(row["cover_mask"]), resolution) == 0)


def block_mean(mask: NDArray[Any], resolution: int) -> Floats:
    """A grey or boolean mask as float at another size: each pixel the mean of the block it covers."""
    if mask.shape == (resolution, resolution):
        return mask.astype(np.float32)
    image = Image.fromarray(mask.astype(np.float32))
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.BOX), np.float32)
