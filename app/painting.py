"""Damage that is painted over the pre image, as the mask that a checkpoint on `pixels+mask` reads, and back."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import AppError
from data.report.charts import CLASS_COLOURS
from data.schema import DAMAGE_VALUES

Layer = NDArray[np.uint8]  # (height, width, 4) RGBA
Mask = NDArray[np.uint8]  # (height, width) of DAMAGE_VALUES, 0 = background
NAMES = [name for name in DAMAGE_VALUES if name != "un-classified"]
COLOURS = [CLASS_COLOURS[name.replace("-", "_")] for name in NAMES]
_RGB = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in COLOURS])
OPAQUE = 128  # a stroke is soft at its edge
MOST_SIDE_PX = 4096  # of a painting


def mask_of(layers: Sequence[Layer], width: int, height: int) -> Mask:
    """The damage mask of an image, from what was painted over a copy of it of any size; later layers cover others."""
    mask = np.zeros((height, width), np.uint8)
    for layer in layers:
        if layer.ndim != 3 or layer.shape[2] != 4 or max(layer.shape) > MOST_SIDE_PX:
            raise AppError("the painting is not an RGBA image of the page's size. Load the page again and paint anew.")
        colours = layer[..., :3].astype(int)
        distances = np.stack([((colours - colour) ** 2).sum(-1) for colour in _RGB])
        classes = np.where(layer[..., 3] >= OPAQUE, distances.argmin(0) + 1, 0).astype(np.uint8)
        painted = np.asarray(Image.fromarray(classes).resize((width, height), Image.Resampling.NEAREST))
        mask = np.where(painted > 0, painted, mask)
    return mask


def layer_of(mask: Mask) -> Layer:
    """A damage mask in the colours of the brush; pixels of unknown damage stay clear."""
    known = (mask > 0) & (mask <= len(NAMES))
    rgb = _RGB[np.where(known, mask - 1, 0)]
    return np.dstack([rgb, known * 255]).astype(np.uint8)
