"""The patches to measure: pre and post at the checkpoint's resolution, and their regions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datasets

from data.pixels import resize_rgb
from data.regions import regions_of
from data.similarity import Mask, Pixels
from generate.items import captions_of, shown_patch
from generate.pipeline import Checkpoint

COLUMNS = ["patch_id", "disaster_type", "pre", "post", "damage_mask", "change_mask"]


@dataclass(frozen=True)
class Patch:
    """One patch as it is shown to the network and measured."""

    patch_id: str
    disaster_type: str
    position: int  # in the split
    seed: int
    prompt: str
    shown: Pixels  # what the checkpoint is given: the pre image, or more channels
    pre: Pixels
    post: Pixels
    regions: dict[str, Mask]


def patches_at(
    dataset: datasets.Dataset, positions: Sequence[int], *, trained: Checkpoint, seed: int
) -> Iterator[Patch]:
    """The patches at some positions of a split, read as they are needed; their captions are checked at once.

    A patch's seed is `seed` + its position, as in `pre2post generate`.
    """
    prompts = captions_of(dataset, positions, trained.caption_style)
    rows = dataset.select_columns(COLUMNS)
    return (
        _patch(rows[position], position, seed + position, prompt, trained)
        for position, prompt in zip(positions, prompts, strict=True)
    )


def _patch(row: dict[str, Any], position: int, seed: int, prompt: str, trained: Checkpoint) -> Patch:
    resolution = trained.resolution
    return Patch(
        patch_id=row["patch_id"],
        disaster_type=row["disaster_type"] or "unknown",
        position=position,
        seed=seed,
        prompt=prompt,
        shown=shown_patch(row, trained),
        pre=resize_rgb(row["pre"], resolution),
        post=resize_rgb(row["post"], resolution),
        regions=regions_of(row, resolution),
    )
