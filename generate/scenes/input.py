"""The pre image of a scene at the network's scale, window by window, for any size and format."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.io import DatasetReader
from rasterio.windows import Window

from data.dataset.processes import Processes
from generate.images.read import open_raster, read_classes, read_rgb, writing_raster
from generate.inputs import Pixels
from generate.processes import ALONE, from_main
from generate.scenes.windows import Grid

STRIP_PX = 256  # rows at the network's scale that are read at once
BLOCK_PX = 128  # of the scratch file
Put = Callable[[Pixels, Pixels | None], Pixels]  # see `Condition.put`


@contextmanager
def scene_windows(
    path: Path,
    grid: Grid,
    factor: int,
    scratch: Path,
    mask: Path | None = None,
    put: Put | None = None,
    team: Processes = ALONE,
) -> Iterator["SceneWindows"]:
    """Resample a scene to the network's scale in a temporary file and read windows of it.

    Args:
        path: the pre image.
        grid: windows, in network pixels; beyond the scene's edge they are filled by reflection.
        factor: scene pixels per network pixel along one axis; blocks are averaged, as in training.
        scratch: the temporary file, 3 bytes per network pixel.
        mask: damage or hole of the scene, appended as channels; the middle pixel of each block is taken.
        put: the network's input from colours and mask; None = the colours alone.
        team: the processes that read it; the first writes the temporary file.
    """
    try:
        if team.number == 1:
            _write_reduced(path, factor, scratch)
        else:
            from_main(lambda: _write_reduced(path, factor, scratch))
        with open_raster(scratch) as reduced, open_raster(mask) if mask else nullcontext() as classes:
            yield SceneWindows(reduced, grid.side, factor, classes, put)
    finally:
        if team.is_main:
            scratch.unlink(missing_ok=True)


def _write_reduced(path: Path, factor: int, scratch: Path) -> None:
    with open_raster(path) as source, writing_raster(scratch):
        profile = {
            "driver": "GTiff",
            "width": -(-source.width // factor),
            "height": -(-source.height // factor),
            "count": 3,
            "dtype": "uint8",
            "tiled": True,
            "blockxsize": BLOCK_PX,
            "blockysize": BLOCK_PX,
            "BIGTIFF": "IF_SAFER",
        }
        with rasterio.open(scratch, "w", **profile) as target:
            for top in range(0, profile["height"], STRIP_PX):
                rows = min(STRIP_PX, profile["height"] - top)
                strip = _reduced(source, top * factor, rows, profile["width"], factor)
                target.write(strip.transpose(2, 0, 1), window=Window(0, top, profile["width"], rows))


class SceneWindows:
    """Called with (top, left), returns (side, side, 3) uint8, or more channels with a mask."""

    def __init__(
        self,
        reduced: DatasetReader,
        side: int,
        factor: int,
        classes: DatasetReader | None,
        put: Put | None,
    ) -> None:
        self.reduced = reduced
        self.side = side
        self.factor = factor
        self.classes = classes  # at the scale of the scene
        self.put = put

    def __call__(self, top: int, left: int) -> Pixels:
        """The window, filled by reflection beyond the lower and right edge of the scene."""
        rows, columns = min(self.side, self.reduced.height - top), min(self.side, self.reduced.width - left)
        beyond = ((0, self.side - rows), (0, self.side - columns))
        pixels = np.pad(read_rgb(self.reduced, Window(left, top, columns, rows)), (*beyond, (0, 0)), mode="symmetric")
        if self.put is None:
            return pixels
        classes = None if self.classes is None else self._classes(top, left, rows, columns)
        return self.put(pixels, None if classes is None else np.pad(classes, beyond, mode="symmetric"))

    def _classes(self, top: int, left: int, rows: int, columns: int) -> NDArray[np.uint8]:
        """The middle pixel of every block, or the last one of a block that exceeds the scene."""
        assert self.classes is not None
        factor, tall, wide = self.factor, self.classes.height, self.classes.width
        bottom, right = min((top + rows) * factor, tall), min((left + columns) * factor, wide)
        area = Window(left * factor, top * factor, right - left * factor, bottom - top * factor)
        found = read_classes(self.classes, area)
        middles = [np.arange(number) * factor + factor // 2 for number in (rows, columns)]
        return found[np.ix_(*(np.minimum(places, side - 1) for places, side in zip(middles, found.shape, strict=True)))]


def _reduced(source: DatasetReader, top: int, rows: int, columns: int, factor: int) -> Pixels:
    """A strip of a scene, each block of `factor` x `factor` px averaged; the last blocks are padded by reflection."""
    height = min(rows * factor, source.height - top)
    strip = read_rgb(source, Window(0, top, source.width, height))
    missing = (rows * factor - height, columns * factor - source.width)
    strip = np.pad(strip, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
    if factor == 1:
        return strip
    return np.asarray(Image.fromarray(strip).resize((columns, rows), Image.Resampling.BOX))
