"""The patches to measure: pre and post at the checkpoint's resolution, and their regions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from data.pixels import resize_rgb
from data.regions import regions_of
from data.similarity import Mask, Pixels
from generate.items import captions_of

COLUMNS = ["patch_id", "disaster_type", "pre", "post", "damage_mask", "change_mask"]


@dataclass(frozen=True)
class Patch:
    """One patch as it is shown to the network and measured."""

    patch_id: str
    disaster_type: str
    position: int  # in the split
    seed: int
    prompt: str
    pre: Pixels
    post: Pixels
    regions: dict[str, Mask]


def patches_at(
    dataset: datasets.Dataset, positions: Sequence[int], *, style: str, seed: int, resolution: int
) -> Iterator[Patch]:
    """The patches at some positions of a split, read as they are needed; their captions are checked at once.

    A patch's seed is `seed` + its position, as in `pre2post generate`.
    """
    prompts = captions_of(dataset, positions, style)
    rows = dataset.select_columns(COLUMNS)
    return (
        _patch(rows[position], position, seed + position, prompt, resolution)
        for position, prompt in zip(positions, prompts, strict=True)
    )


def _patch(row: Mapping[str, Any], position: int, seed: int, prompt: str, resolution: int) -> Patch:
    return Patch(
        patch_id=row["patch_id"],
        disaster_type=row["disaster_type"] or "unknown",
        position=position,
        seed=seed,
        prompt=prompt,
        pre=resize_rgb(row["pre"], resolution),
        post=resize_rgb(row["post"], resolution),
        regions=regions_of(row, resolution),
    )
