"""Patches of different scenes that show the same picture, found by a perceptual hash."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

from data.quality.likeness import LEAST_SHOWN

THUMBNAIL_PX = 32
HASH_SIDE = 8  # 8 x 8 frequencies: 64 bits
FLAT = 2.0  # standard deviation of the thumbnail, 8-bit values, below which there is nothing to recognise
NEAR_BITS = 3  # two unrelated patterns of 64 bits differ in 32 +- 4
_BANDS = NEAR_BITS + 1  # two hashes that differ in 3 bits agree in one of 4 bands
_BAND_BITS = 64 // _BANDS


@dataclass(frozen=True)
class Hashed:
    """A patch and its hash."""

    patch_id: str
    scene_id: str
    split: str
    phash: str  # of `perceptual_hash`
    sha256: str = ""  # of the encoded picture
    file: str = ""  # the shard that holds it


Same = Callable[[Hashed, Hashed], bool]


def perceptual_hash(image: NDArray[np.uint8], nodata: NDArray[np.bool_] | None = None) -> str:
    """64 bits as 16 hexadecimal digits: the signs of the low frequencies of the picture; "" if it is flat or hidden.

    Brightness, contrast, noise, another codec or size change few bits; another place changes half of them. Pixels
    without data become the mean of the rest: the edge of an image is not a feature of the ground.
    """
    grey = np.array(Image.fromarray(image).convert("L"))
    if nodata is not None and nodata.any():
        if nodata.mean() > 1 - LEAST_SHOWN:
            return ""
        grey[nodata] = round(float(grey[~nodata].mean()))
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    thumbnail = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX), np.float64)
    if thumbnail.std() < FLAT:
        return ""
    # Without row and column 0: brightness, and what a tilt of the light adds.
    frequencies = fft.dctn(thumbnail, norm="ortho")[1 : HASH_SIDE + 1, 1 : HASH_SIDE + 1]
    return np.packbits(frequencies > 0).tobytes().hex()


def near_duplicates(patches: Sequence[Hashed], same: Same, across_splits: bool = False) -> list[dict[str, str | int]]:
    """Every patch that looks like an earlier one of another scene, with the first such.

    Args:
        patches: in the order of the dataset.
        same: whether two patches with nearly the same hash are the same picture.
        across_splits: compare with patches of other splits only. Similarity is not transitive, so the first match of
            all may be in the same split and hide one that is not.
    """
    seen: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(_BANDS)]
    found: list[dict[str, str | int]] = []
    for i, patch in enumerate(patches):
        if not patch.phash:
            continue
        own = int(patch.phash, 16)
        places = [table[own >> band * _BAND_BITS & (1 << _BAND_BITS) - 1] for band, table in enumerate(seen)]
        firsts = [
            next((j for j in place if _alike(patch, patches[j], across_splits) and same(patch, patches[j])), i)
            for place in places
        ]
        if (first := min(firsts)) < i:
            found.append(_entry(patch, patches[first]))
        for place in places:
            place.append(i)
    return found


def _alike(one: Hashed, other: Hashed, across_splits: bool) -> bool:
    apart = one.split != other.split if across_splits else one.scene_id != other.scene_id
    return apart and _different_bits(one, other) <= NEAR_BITS


def _different_bits(one: Hashed, other: Hashed) -> int:
    return (int(one.phash, 16) ^ int(other.phash, 16)).bit_count()


def _entry(later: Hashed, earlier: Hashed) -> dict[str, str | int]:
    return {
        "patch_id": later.patch_id,
        "split": later.split,
        "looks_like": earlier.patch_id,
        "its_split": earlier.split,
        "bits": _different_bits(later, earlier),
    }
