"""The pixels of one scene as 8-bit RGB on the grid of its pre image, whatever files they come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader
from rasterio.windows import Window as Region

from data.errors import DataError
from data.imagery.geo import Location, locate_raster
from data.imagery.grids import Grid, grid_of, on_grid, unplaced
from data.imagery.raster import Bands, Mask, check_mask, opened, opened_image, read_rgb, read_single
from data.imagery.stretch import Range, check_collar, joint_range, to_8_bit
from data.schema import DAMAGE_VALUES
from data.sources.labels import Phase
from data.sources.release import SceneFiles

Pixels = NDArray[np.uint8]

WHOLE_PX = 2048  # images with a longer side are cut into parts
MASK_VALUES = (0, *DAMAGE_VALUES.values())


@dataclass(frozen=True)
class SceneImages:
    """All pixels of a scene, of one size."""

    images: dict[Phase, Pixels]  # (height, width, 3)
    masked: dict[Phase, Mask | None]  # True where the file says that there is no data; None if it does not say
    change: Pixels | None  # (height, width)
    cover: Pixels | None  # (height, width)
    damage: Pixels | None  # (height, width) of MASK_VALUES; None without a mask file
    post_again: Pixels | None  # (height, width, 3), brightness as that of post
    history: list[Pixels]  # (height, width, 3) each, of SceneFiles.history
    remarks: list[str]  # what the user should know about its files


def read_scene(scene: SceneFiles, bands: Bands) -> SceneImages:
    """Read a scene, or its part of a large raster, with post, change, cover and damage on the grid of pre."""
    with opened_image(scene.pre_image) as pre:
        region = _region(scene, pre)
        grid = grid_of(pre, scene.pre_image)
        raw: dict[Phase, tuple[NDArray[Any], Mask]] = {"pre": read_rgb(pre, scene.pre_image, bands, region)}
    remarks: list[str] = []
    raw["post"] = _read_onto(grid, scene.post_image, bands, region, remarks)
    if (kinds := {phase: str(pixels.dtype) for phase, (pixels, _) in raw.items()})["pre"] != kinds["post"]:
        raise DataError(
            f"{scene.post_image}: holds {kinds['post']}, but the pre image {kinds['pre']}. Their brightness cannot be "
            "compared: bring both to one type and scale (gdal_translate -ot ... -scale ...)."
        )
    pair = [(scene.pre_image, *raw["pre"]), (scene.post_image, *raw["post"])]
    limits = scene.part.limits if scene.part else pair_range(pair)
    images = {
        phase: to_8_bit(*read, limits) if limits else np.asarray(read[0], np.uint8) for phase, read in raw.items()
    }
    damage = _read_classes(scene.mask, grid, region) if scene.mask else None
    if damage is not None and scene.mask is not None and (strange := set(np.unique(damage)) - set(MASK_VALUES)):
        values = ", ".join(str(value) for value in sorted(strange)[:5])
        raise DataError(f"{scene.mask}: holds the value {values}, expected {', '.join(map(str, MASK_VALUES))} only.")
    return SceneImages(
        images=images,
        masked={phase: None if valid.all() else ~valid for phase, (_, valid) in raw.items()},
        change=_read_classes(scene.change, grid, region) if scene.change else None,
        cover=_read_classes(scene.cover, grid, region) if scene.cover else None,
        damage=damage,
        post_again=_read_again(scene.post_again, bands, grid, region, limits, remarks) if scene.post_again else None,
        history=[_read_earlier(earlier.image, bands, grid, region, remarks) for earlier in scene.history],
        remarks=remarks,
    )


def _read_onto(
    grid: Grid, path: Path, bands: Bands, region: Region | None, remarks: list[str]
) -> tuple[NDArray[Any], Mask]:
    """As `read_rgb`, for a file that may be on another grid; adds to the remarks."""
    with opened_image(path) as dataset, on_grid(dataset, path, grid) as view:
        remarks += [remark for remark in [unplaced(dataset, path, grid)] if remark]
        return read_rgb(view, path, bands, region)


def _read_again(
    path: Path, bands: Bands, grid: Grid, region: Region | None, limits: Range | None, remarks: list[str]
) -> Pixels:
    """The second post image on the grid of pre; 16 bits are reduced to 8 as in the pair."""
    pixels, valid = _read_onto(grid, path, bands, region, remarks)
    if (pixels.dtype == np.uint8) != (limits is None):
        raise DataError(f"{path}: holds {pixels.dtype}, unlike the pair. Convert it to the type of its post image.")
    return to_8_bit(pixels, valid, limits) if limits else np.asarray(pixels, np.uint8)


def _read_earlier(path: Path, bands: Bands, grid: Grid, region: Region | None, remarks: list[str]) -> Pixels:
    """On the grid of pre, black where it holds no data."""
    pixels, valid = _read_onto(grid, path, bands, region, remarks)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: holds {pixels.dtype}, and images of a history are expected in 8 bits, since no range of pre and "
            "post fits another sensor. Convert it: gdal_translate -ot Byte -scale LOW HIGH 1 255."
        )
    return np.where(valid[..., None], pixels, 0).astype(np.uint8)


def pair_range(raw: Sequence[tuple[Path, NDArray[Any], Mask]]) -> Range | None:
    """The joint range of 16-bit images, or of windows of them; None for 8-bit ones, which stay as they are."""
    if raw[0][1].dtype == np.uint8:
        return None
    for path in dict.fromkeys(path for path, _, _ in raw):
        check_collar(path, *zip(*((image, mask) for other, image, mask in raw if other == path), strict=True))
    return joint_range([image for _, image, _ in raw], [mask for _, _, mask in raw])


def scene_place(scene: SceneFiles) -> tuple[Location | None, int, int]:
    """The location of the scene according to the pre image's file (None: it has none), and its width and height."""
    with opened(scene.pre_image) as pre:
        grid, is_png = scene_grid(scene, grid_of(pre, scene.pre_image)), pre.driver == "PNG"
    if is_png or grid.crs is None or not (grid.crs.is_geographic or grid.crs.is_projected):
        return None, grid.width, grid.height
    return locate_raster(grid.affine, grid.crs.to_wkt(), grid.width, grid.height), grid.width, grid.height


def scene_grid(scene: SceneFiles, whole: Grid) -> Grid:
    """The grid of a scene in that of its pre image."""
    part = scene.part
    return whole.cut(part.row, part.col, part.height, part.width) if part else whole


def _region(scene: SceneFiles, pre: DatasetReader) -> Region | None:
    if scene.part:
        return Region(scene.part.col, scene.part.row, scene.part.width, scene.part.height)
    assert max(pre.width, pre.height) <= WHOLE_PX, "data/sources/large.py cuts what is larger"
    return None


def _read_classes(path: Path, grid: Grid, region: Region | None) -> Pixels:
    with opened(path) as dataset, on_grid(dataset, path, grid, classes=True) as view:
        check_mask(dataset, path)
        return read_single(view, path, region)
