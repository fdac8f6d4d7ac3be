"""Cloud and haze, without an infrared band: by comparing the two images of a place.

A single image cannot distinguish a bright smooth field from cloud. Two can: cloud lightens what is dark in the other
image, is nearly white, and removes the edges below it. Measured on labelled patches in docs/pair-quality.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from data.patches.tiles import Window
from data.sources.labels import Phase

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLOCK_PX = 4  # averaged first, so that noise and cars do not decide
CELL_PX = 32  # cloud is sought in squares of this side
LEAST_CELLS = 4  # of sure cloud in one piece; a white roof has fewer


@dataclass(frozen=True)
class Sky:
    """What is between the ground of one image and the sensor, per cell; NaN where that is unknown."""

    cell_px: int
    cloud: Floats  # (rows, cols) 1 cloud, 0 none
    darkest: Floats  # (rows, cols) 0..255, the darkest colour of the darkest block

    def over(self, window: Window) -> tuple[float, float]:
        """Share of the cells of a window with cloud, and the median of their darkest colour, both 0..1 or NaN.

        The second is the dark channel of He et al. (2009): clear ground holds something dark nearly everywhere, and
        haze, smoke and thin cloud lift it.
        """
        starts = (window.row, window.col)
        rows, cols = (slice(at // self.cell_px, -(-(at + window.size) // self.cell_px)) for at in starts)
        cloud, darkest = (values[rows, cols] for values in (self.cloud, self.darkest))
        cloud, darkest = cloud[~np.isnan(cloud)], darkest[~np.isnan(darkest)]
        return (
            float(cloud.mean()) if cloud.size else float("nan"),
            float(np.median(darkest) / 255) if darkest.size else float("nan"),
        )


@dataclass(frozen=True)
class _Cells:
    """(rows, cols) each."""

    darkest: Floats
    saturation: Floats  # 0..1, of the mean colour
    edge: Floats  # the largest difference of neighbouring blocks, 8-bit values
    whole: Mask  # no pixel is without data


def skies(images: Mapping[Phase, Pixels], nodata: Mapping[Phase, Mask]) -> dict[Phase, Sky]:
    """The sky of both images of a scene, which have one size."""
    cell = min(CELL_PX, *(side // 8 * 8 for side in nodata["pre"].shape))
    cells = {phase: _cells(images[phase], nodata[phase], cell) for phase in images}
    both = cells["pre"].whole & cells["post"].whole
    clouds = {"pre": _cloud(cells["pre"], cells["post"]), "post": _cloud(cells["post"], cells["pre"])}
    return {
        phase: Sky(
            cell,
            np.where(both, clouds[phase], np.nan).astype(np.float32),
            np.where(cells[phase].whole, cells[phase].darkest, np.nan).astype(np.float32),
        )
        for phase in images
    }


def _cloud(one: _Cells, other: _Cells) -> Mask:
    """Where one image has cloud that the other has not: sure cells, and weaker ones connected to them."""
    lighter = one.darkest - other.darkest  # 8-bit values
    smoother = one.edge / np.maximum(other.edge, 1)
    bright = (one.darkest > 80) & (one.saturation < 0.25) & (one.edge < 12) & (lighter > 40) & (smoother < 0.5)
    # A grey deck need not be brighter than the ground, but nothing of that is left.
    grey = (one.darkest > 50) & (one.saturation < 0.15) & (one.edge < 10) & (smoother < 0.2)
    thin = (one.saturation < 0.5) & (one.edge < 16) & (lighter > 0) & (smoother < 0.8)
    sure = bright | grey
    pieces, count = ndimage.label(sure | thin, np.ones((3, 3)))
    large = np.bincount(pieces[sure], minlength=count + 1) >= min(LEAST_CELLS, sure.size)
    return np.asarray(large[pieces] & (pieces > 0))


def _cells(image: Pixels, nodata: Mask, cell: int) -> _Cells:
    height, width = (side // cell * cell for side in nodata.shape)
    blocks = np.asarray(Image.fromarray(image[:height, :width]).reduce(BLOCK_PX))
    colours = np.moveaxis(blocks, -1, 0).astype(np.float32, order="C")  # numpy reduces the first axis fastest
    per_cell = cell // BLOCK_PX
    means = np.stack([_squares(colour, per_cell).mean(axis=(1, 3)) for colour in colours])
    return _Cells(
        darkest=_squares(colours.min(axis=0), per_cell).min(axis=1).min(axis=-1),  # twice one axis: six times as fast
        saturation=1 - means.min(axis=0) / np.maximum(means.max(axis=0), 1),
        edge=_squares(_steps(colours.mean(axis=0)), per_cell).max(axis=1).max(axis=-1),
        whole=np.asarray(~_squares(nodata[:height, :width], cell).any(axis=(1, 3))),
    )


def _squares(values: NDArray[np.generic], side: int) -> NDArray[np.generic]:
    height, width = values.shape
    return values.reshape(height // side, side, width // side, side)


def _steps(values: Floats) -> Floats:
    """The larger of the differences to the lower and to the right neighbour."""
    down = np.abs(np.diff(values, axis=0, append=values[-1:]))
    right = np.abs(np.diff(values, axis=1, append=values[:, -1:]))
    return np.maximum(down, right)
