"""What networks are shown and told of a place: its image, the damage that is asked for, its metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image

from data.imagery.pixels import resize_mask, resize_rgb
from data.schema import METADATA_FIELDS

DAMAGE_VALUES_SHOWN = 5  # background and the four damage classes; un-classified ground is none of them
CHANNELS = {"pixels": 3, "pixels+mask": 3 + DAMAGE_VALUES_SHOWN}


def shown_pixels(image: Image.Image, mask: Image.Image | None, resolution: int) -> NDArray[np.uint8]:
    """An image, with the damage mask as one-hot channels behind it if there is one.

    Args:
        image: of the patch.
        mask: its damage mask: 0 background, 1 to 4 damage, 255 not assessable.
        resolution: side of the result, px.

    Returns:
        (resolution, resolution, 3 or 8) uint8; a class is 255 where it is and 0 elsewhere.
    """
    pixels = resize_rgb(image, resolution)
    if mask is None:
        return pixels
    return with_mask(pixels, resize_mask(mask, resolution))


def with_mask(pixels: NDArray[np.uint8], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 3) pixels and (height, width) of a damage mask as (height, width, 8)."""
    one_hot = (classes[..., None] == np.arange(DAMAGE_VALUES_SHOWN)) * np.uint8(255)
    return np.concatenate([pixels, one_hot], -1)


def shown_sequence(row: Mapping[str, Any], images: int, resolution: int) -> NDArray[np.uint8]:
    """The pre image of a patch and the newest before it, (resolution, resolution, 3 * images) uint8, pre first."""
    shown = [row["pre"], *newest(row["history"] if images > 1 else None, images - 1)]
    return np.concatenate([resize_rgb(image, resolution) for image in shown], -1)


def newest(history: Sequence[Any] | None, count: int) -> list[Any]:
    """The last of a list that begins with the oldest, in the other order."""
    return list(history or [])[::-1][:count]


def too_short(dataset: Dataset, images: int) -> list[str]:
    """The patches that have fewer images of before the event, pre among them."""
    if images == 1:
        return []
    if "metadata_history" not in dataset.column_names:
        return list(dataset["patch_id"])
    rows = zip(dataset["patch_id"], dataset["metadata_history"], strict=True)
    return [patch_id for patch_id, history in rows if len(history or []) < images - 1]


def shown_metadata(natural: Sequence[float], size: int, resolution: int) -> list[float]:
    """Metadata of a patch of `size` px that is shown at `resolution` px: a pixel then covers more ground, or less.

    Args:
        natural: METADATA_FIELDS in natural units, NaN = unknown; as in the dataset.
        size: side of the patch, px.
        resolution: side that it is shown at, px.
    """
    gsd = METADATA_FIELDS.index("gsd")
    return [value * size / resolution if field == gsd else value for field, value in enumerate(natural)]


def undamaged(mask: Image.Image) -> Image.Image:
    """The damage mask of the same place before the event: every building stands."""
    return Image.fromarray((np.array(mask) > 0).astype(np.uint8))
