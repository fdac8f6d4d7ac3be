"""Whether two patches of one hash are one picture: what their footprints say, then a closer look at both."""

import io
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from data.quality.duplicates import Hashed
from data.quality.image import nodata_mask
from data.quality.likeness import Pixels, likeness
from data.sources.footprints import Overlap

SAME_FROM = 0.9  # of `likeness`; copies of real scenes saved as JPEG of quality 60 have 0.95 and more
SEARCH_PX = 1  # hashes that agree leave no room for more


class SamePicture:
    """Compares patches of a built dataset."""

    def __init__(self, folder: Path, placed: Collection[str], overlaps: Iterable[Overlap]) -> None:
        """Of the shards in `folder`; `placed` scenes have a footprint, those of `overlaps` share ground."""
        self._folder, self._placed = folder, placed
        self._touching = {frozenset((one, other)) for one, other, _ in overlaps}
        self._picture = lru_cache(maxsize=64)(self._read)

    def __call__(self, one: Hashed, other: Hashed) -> bool:
        """Footprints that do not touch overrule a likeness, but not identical bytes: then a footprint must be wrong."""
        if one.sha256 == other.sha256:
            return True
        scenes = frozenset((one.scene_id, other.scene_id))
        if scenes <= set(self._placed) and scenes not in self._touching:
            return False
        here, there = (self._picture(patch.file, patch.patch_id) for patch in (one, other))
        return likeness(here, there, nodata_mask(here) | nodata_mask(there), SEARCH_PX) >= SAME_FROM

    def _read(self, file: str, patch_id: str) -> Pixels:
        table = pq.read_table(self._folder / file, columns=["pre"], filters=[("patch_id", "=", patch_id)])
        return np.asarray(Image.open(io.BytesIO(table["pre"][0].as_py()["bytes"]), formats=("PNG",)))
