"""Cut rasters that are too large to be read whole into parts, each of which is built like a scene of its own."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rasterio.windows import Window as Region

from data.errors import DataError
from data.imagery.grids import covered, grid_of, on_grid
from data.imagery.raster import Bands, View, check_bands, opened, opened_image, read_rgb
from data.imagery.stretch import Range
from data.progress import Bar
from data.sources.release import Part, Release, SceneFiles
from data.sources.scene_images import WHOLE_PX, pair_range

PART_PX = 1024  # the largest side of a part, unless a patch is larger
MOST_PARTS = 100_000
SAMPLES = 64  # windows from which the range of 16-bit values of all parts is taken
SAMPLE_PX = 256


def cut_large(release: Release, size: int, bands: Bands) -> Release:
    """The release with large rasters cut into parts; what cannot be opened or is too small is listed as incomplete."""
    scenes: list[SceneFiles] = []
    unusable: list[tuple[str, str]] = []
    for scene in Bar(release.scenes, desc="measuring images", unit="scene", delay=2):
        try:
            scenes += _parts(scene, size, bands)
        except DataError as error:
            unusable.append((scene.scene_id, str(error)))
    if not scenes:
        raise DataError(f"none of {len(unusable)} scenes could be used. The first: {unusable[0][1]}")
    return replace(release, scenes=tuple(scenes), incomplete=tuple(sorted([*release.incomplete, *unusable])))


def _parts(scene: SceneFiles, size: int, bands: Bands) -> list[SceneFiles]:
    with opened(scene.pre_image) as pre:
        if min(pre.width, pre.height) < size:
            found = f"{pre.width} x {pre.height} px, smaller than a patch of {size} px"
            raise DataError(f"{scene.pre_image}: {found}. Choose a smaller --size.")
        if max(pre.width, pre.height) <= WHOLE_PX:
            return [scene]
    with opened_image(scene.pre_image) as pre, opened_image(scene.post_image) as post:
        check_bands(pre, scene.pre_image, bands)
        check_bands(post, scene.post_image, bands)
        grid = grid_of(pre, scene.pre_image)
        box = covered(post, scene.post_image, grid)
        windows = list(_windows(pre.height, pre.width, size, box, scene.pre_image))
        with on_grid(post, scene.post_image, grid) as post_on_pre:
            views = [(pre, scene.pre_image), (post_on_pre, scene.post_image)]
            limits = _limits(views, bands, windows)
        return [_part(scene, i, window, pre, limits) for i, window in enumerate(windows)]


def _windows(
    height: int, width: int, size: int, box: tuple[int, int, int, int], path: Path
) -> Iterator[tuple[int, int, int, int]]:
    """(row, col, height, width) of the parts that `box` touches and that hold a patch, all on one grid of patches."""
    side = max(size, PART_PX // size * size)
    top, left, bottom, right = box
    rows = range(top // side * side, min(bottom, height - size + 1), side)
    cols = range(left // side * side, min(right, width - size + 1), side)
    number = len(rows) * len(cols)
    if number > MOST_PARTS:
        raise DataError(f"{path}: {width} x {height} px make {number:,} parts, at most {MOST_PARTS:,}. Cut it first.")
    if not number:
        raise DataError(f"{path}: {width} x {height} px, of which post covers less than a patch of {size} px.")
    # The last part of a row or column includes the margin, so that its buildings are counted.
    heights = {row: side if row + side + size <= height else height - row for row in rows}
    widths = {col: side if col + side + size <= width else width - col for col in cols}
    return ((row, col, heights[row], widths[col]) for row in rows for col in cols)


def _part(
    scene: SceneFiles, number: int, window: tuple[int, int, int, int], pre: View, limits: Range | None
) -> SceneFiles:
    row, col, height, width = window
    part = Part(scene.scene_id, number, row, col, height, width, pre.height, pre.width, limits)
    return replace(scene, scene_id=f"{scene.scene_id}_r{row:06d}_c{col:06d}", part=part)


def _limits(
    views: Sequence[tuple[View, Path]], bands: Bands, windows: Sequence[tuple[int, int, int, int]]
) -> Range | None:
    """One range for all parts, to avoid seams, from the middles of evenly spread ones."""
    if all(view.dtypes[bands[0] - 1] == "uint8" for view, _ in views):
        return None
    chosen = [windows[i * len(windows) // SAMPLES] for i in range(SAMPLES)] if len(windows) > SAMPLES else windows
    regions = [_middle(*window) for window in chosen]
    return pair_range([(path, *read_rgb(view, path, bands, region)) for region in regions for view, path in views])


def _middle(row: int, col: int, height: int, width: int) -> Region:
    tall, wide = min(height, SAMPLE_PX), min(width, SAMPLE_PX)
    return Region(col + (width - wide) // 2, row + (height - tall) // 2, wide, tall)
