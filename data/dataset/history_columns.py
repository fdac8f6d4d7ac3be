"""The columns HISTORY of one patch: its ground in the earlier images, and their metadata."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.imagery.encode import encode_png
from data.patches.tiles import Window
from data.sources.history import EarlierImage


def history_columns(
    images: list[NDArray[np.uint8]] | None,
    history: Sequence[EarlierImage],
    window: Window,
    patch_id: str,
    metadata_pre: list[float],
) -> dict[str, Any]:
    """The columns, null if the scene has no earlier image; none at all if the dataset has no such columns.

    Args:
        images: (H, W, 3) each, of the whole scene on the grid of pre; None if the dataset has no such columns.
        history: what is known about each.
        window: of the patch.
        patch_id: of the patch.
        metadata_pre: METADATA_FIELDS of the pre image: place and pixel size are those of the earlier images too.
    """
    if images is None:
        return {}
    rows, cols = slice(window.row, window.row + window.size), slice(window.col, window.col + window.size)
    lon, lat, pixel_size_m = metadata_pre[:3]
    files, metadata = [], []
    for number, (pixels, earlier) in enumerate(zip(images, history, strict=True)):
        files.append({"bytes": encode_png(pixels[rows, cols]), "path": f"{patch_id}_history_{number}.png"})
        day = (earlier.day.year, earlier.day.month, earlier.day.day)
        metadata.append([lon, lat, earlier.gsd_m or pixel_size_m, earlier.cloud_cover, *day])
    return {"history": files or None, "metadata_history": metadata or None}
