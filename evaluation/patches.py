"""The patches to measure: pre and post at the checkpoint's resolution, and their regions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np

from data.examples.condition import CONDITIONS, Condition
from data.examples.holes import unknown
from data.examples.regions import regions_of
from data.examples.similarity import Mask, Pixels
from data.imagery.pixels import resize_mask, resize_rgb
from evaluation.damage_classes import damage_regions
from generate.images.items import restored_patch

COLUMNS = ["patch_id", "scene_id", "event", "disaster_type", "pre", "post", "damage_mask", "change_mask"]
AGAIN = "post_again"
LATER = (AGAIN, "cover_mask", "nodata_fraction")  # datasets built before there were any lack these columns
NOTHING_RESTORED = CONDITIONS["pixels"]


@dataclass(frozen=True)
class Patch:
    """One patch as the network gets it and as it is evaluated."""

    patch_id: str
    scene_id: str
    event: str
    disaster_type: str
    position: int  # in the split
    prompt: str
    pre: Pixels
    post: Pixels
    post_again: Pixels | None  # a second image of the same aftermath
    regions: dict[str, Mask]
    damage: Pixels | None = None  # (side, side) DAMAGE_VALUES; None without labels


def patches_at(
    dataset: datasets.Dataset,
    positions: Sequence[int],
    prompts: Sequence[str],
    *,
    resolution: int,
    condition: Condition = NOTHING_RESTORED,
) -> Iterator[Patch]:
    """The patches at some positions of a split, read on demand, with the caption of each.

    Where the condition of a checkpoint restores the post image, `pre` is the simplest answer to what it is shown, and
    inside and outside are those of a hole.
    """
    rows = dataset.select_columns([name for name in (*COLUMNS, *LATER) if name in dataset.column_names])
    for position, prompt in zip(positions, prompts, strict=True):
        row = rows[position]
        patch = _patch(row, position, prompt, resolution)
        yield _restored(patch, row, condition) if condition.restores else patch


def without_again(dataset: datasets.Dataset, positions: Sequence[int]) -> int:
    """How many of the patches have no second post image; none is decoded for it."""
    if AGAIN not in dataset.column_names:
        return len(positions)
    cells = dataset.select_columns([AGAIN]).cast_column(AGAIN, datasets.Image(decode=False))
    return sum(cells[position][AGAIN] is None for position in positions)


def _restored(patch: Patch, row: Mapping[str, Any], condition: Condition) -> Patch:
    shown = restored_patch(row, patch.position, condition, "post", len(patch.post))
    if not condition.with_hole:
        return replace(patch, pre=shown)
    hole, side = shown[..., 3] > 0, len(shown)
    known = ~unknown(row, "post", side)
    rest = shown if hole.all() else shown[~hole]  # nothing is left of a patch that a cloud covers
    answer = np.where(hole[..., None], rest.reshape(-1, 4).mean(axis=0).round().astype(np.uint8), shown)[..., :3]
    areas = {"inside": hole & known, "outside": ~hole & known}
    return replace(patch, pre=answer, regions=patch.regions | areas)


def _patch(row: Mapping[str, Any], position: int, prompt: str, resolution: int) -> Patch:
    return Patch(
        patch_id=row["patch_id"],
        scene_id=row["scene_id"],
        event=row["event"] or "unknown",
        disaster_type=row["disaster_type"] or "unknown",
        position=position,
        prompt=prompt,
        pre=resize_rgb(row["pre"], resolution),
        post=resize_rgb(row["post"], resolution),
        post_again=resize_rgb(row[AGAIN], resolution) if row.get(AGAIN) else None,
        regions=regions_of(row, resolution) | damage_regions(row, resolution),
        damage=None if row["damage_mask"] is None else resize_mask(row["damage_mask"], resolution),
    )
