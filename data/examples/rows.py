"""What a network is shown of the row of a patch beside that image: earlier images, metadata."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from data.imagery.pixels import resize_rgb
from data.schema import METADATA_FIELDS


def shown_sequence(row: Mapping[str, Any], images: int, resolution: int) -> NDArray[np.uint8]:
    """The pre image of a patch and the newest before it, (resolution, resolution, 3 * images) uint8, pre first."""
    shown = [row["pre"], *newest(row["history"] if images > 1 else None, images - 1)]
    return np.concatenate([resize_rgb(image, resolution) for image in shown], -1)


def newest(history: Sequence[Any] | None, count: int) -> list[Any]:
    """The last `count` of a list that begins with the oldest, newest first."""
    return list(history or [])[::-1][:count]


def too_short(dataset: Dataset, images: int) -> list[str]:
    """The patches with fewer pre-event images, including pre."""
    if images == 1:
        return []
    if "metadata_history" not in dataset.column_names:
        return list(dataset["patch_id"])
    rows = zip(dataset["patch_id"], dataset["metadata_history"], strict=True)
    return [patch_id for patch_id, history in rows if len(history or []) < images - 1]


def shown_metadata(natural: Sequence[float], size: int, resolution: int) -> list[float]:
    """Metadata of a patch of `size` px resized to `resolution` px: a pixel then covers more ground, or less.

    Args:
        natural: METADATA_FIELDS in natural units, NaN = unknown; as in the dataset.
        size: side of the patch, px.
        resolution: side that it is resized to, px.
    """
    gsd = METADATA_FIELDS.index("gsd")
    return [value * size / resolution if field == gsd else value for field, value in enumerate(natural)]
