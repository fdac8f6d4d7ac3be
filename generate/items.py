"""What to generate: one image file, or the patches of a built dataset."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
from PIL import Image, UnidentifiedImageError

from data.condition import shown_pixels, undamaged
from data.pixels import resize_rgb
from generate.errors import GenerateError
from generate.pipeline import Checkpoint, Pixels

MODES = ("RGB", "RGBA", "P", "L")  # 8 bits per channel

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One image to generate."""

    name: str  # patch_id, or the stem of the file
    pre: Pixels
    prompt: str
    seed: int


def image_item(path: Path, prompt: str | None, seed: int, resolution: int) -> Item:
    """The item of a single image file."""
    if prompt is None:
        raise GenerateError(
            f"{path}: a single image has no caption. Say with --prompt what the new image shows, in the words the "
            "checkpoint was trained with, e.g. --prompt 'a fmow satellite image after being affected by a flooding "
            "natural disaster'."
        )
    return Item(path.stem, read_image(path, resolution), prompt, seed)


def patch_items(
    dataset: datasets.Dataset, positions: Sequence[int], prompts: Sequence[str], seed: int, trained: Checkpoint
) -> Iterator[Item]:
    """The items of some patches of a split; a patch's seed is `seed` + its position in the whole split."""
    columns = dataset.select_columns(["patch_id", "pre", "post", "damage_mask"])
    for position, prompt in zip(positions, prompts, strict=True):
        row = columns[position]
        yield Item(row["patch_id"], shown_patch(row, trained), prompt, seed + position)


def shown_patch(row: dict[str, Any], trained: Checkpoint) -> Pixels:
    """What a checkpoint is shown of a patch: its pre image, its post image if it looks into the past, its mask."""
    past = trained.direction == "past"
    image, mask = row["post" if past else "pre"], None
    if trained.condition == "pixels+mask" and "controlnet" in trained.trained:
        if row["damage_mask"] is None:
            raise GenerateError(
                f"patch {row['patch_id']} has no damage mask, which the checkpoint was trained with "
                "(model.condition pixels+mask). Take a dataset whose scenes all have labels."
            )
        mask = undamaged(row["damage_mask"]) if past else row["damage_mask"]
    return shown_pixels(image, mask, trained.resolution)


def read_image(path: Path, resolution: int) -> Pixels:
    """A square 8-bit image file as (resolution, resolution, 3)."""
    try:
        image = Image.open(path)
        image.load()
    except FileNotFoundError:
        raise GenerateError(f"{path}: no such file. Expected a PNG or JPEG image, or a built dataset.") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise GenerateError(f"{path}: cannot be read as an image ({error}). Expected a PNG or JPEG.") from None
    if image.mode not in MODES:
        raise GenerateError(f"{path}: an image of mode {image.mode}. Convert it to 8-bit RGB.")
    width, height = image.size
    if width != height:
        raise GenerateError(
            f"{path}: {width} x {height} px. The checkpoint makes square images of {resolution} x {resolution} px: "
            "cut a square out of it, at the ground resolution of the training patches."
        )
    if width != resolution:
        print(f"{path}: {width} x {height} px, shown to the network at {resolution} x {resolution} px.")
    return resize_rgb(image, resolution)


def captions_of(dataset: datasets.Dataset, positions: Sequence[int], style: str, target: str = "post") -> list[str]:
    """The caption of one style of each patch's pre or post image; all are looked up before any image is made."""
    rows = dataset.select_columns(["patch_id", "captions"])
    return [_caption(rows[position], style, target) for position in positions]


def spread(total: int, limit: int | None) -> list[int]:
    """Positions of `limit` items evenly spread over `total`, first and last included; all without a limit."""
    if limit is not None and limit < 1:
        raise GenerateError(f"limit is {limit}; expected 1 or more, or leave it out to take all.")
    if limit is None or limit >= total:
        return list(range(total))
    return [int(position) for position in np.linspace(0, total - 1, limit).round()]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    if size < 1:
        raise GenerateError(f"batch_size is {size}; expected 1 or more.")
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _caption(row: dict[str, Any], style: str, target: str) -> str:
    found = [caption["text"] for caption in row["captions"] if (caption["style"], caption["target"]) == (style, target)]
    if not found:
        styles = sorted({caption["style"] for caption in row["captions"] if caption["target"] == target})
        raise GenerateError(
            f"patch {row['patch_id']} has no caption of style {style!r} for its {target} image; it has "
            f"{', '.join(styles) or 'none'}. Choose one of these, or give one prompt for all."
        )
    return str(found[0])
