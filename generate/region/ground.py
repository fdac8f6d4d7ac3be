"""The images of a plan's regions, and the cells of ground that tiles are cut from."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window as Area

from data.errors import DataError
from data.imagery.geo import locate_raster
from data.imagery.grids import NO_NAME, Grid, grid_of
from data.imagery.raster import Bands, check_bands, opened_image, read_rgb
from data.progress import Bar
from data.sources.vector_file import check_meets
from generate.errors import GenerateError
from generate.inputs import Pixels
from generate.region.plan import Plan, Region

BANDS: Bands = (1, 2, 3)
ENDS_BYTES = 1 << 20  # of a file that tell one version from another; a mosaic of a country is not hashed whole
TIFFS = (".tif", ".tiff")


@dataclass(frozen=True)
class Source:
    """One image and its place in the list of cells of its region."""

    path: Path
    name: str  # as the plan finds it
    grid: Grid
    rows: int  # of whole cells
    cols: int
    identity: str  # hash of its size and both its ends

    @property
    def cells(self) -> int:
        """How many tiles fit side by side."""
        return self.rows * self.cols


@dataclass(frozen=True)
class Cell:
    """A window of an image that may become a tile."""

    source: Source
    row: int  # px
    col: int
    side: int

    @property
    def grid(self) -> Grid:
        """Where it lies."""
        return self.source.grid.cut(self.row, self.col, self.side, self.side)

    def read(self) -> tuple[Pixels, float]:
        """(side, side, 3) uint8, and the share of its pixels that hold data."""
        with opened_image(self.source.path) as image:
            pixels, valid = read_rgb(image, self.source.path, BANDS, Area(self.col, self.row, self.side, self.side))
        held = valid & pixels.any(axis=-1)  # undeclared borders are exactly black
        return np.where(valid[..., None], pixels, 0).astype(np.uint8), float(held.mean())


@dataclass(frozen=True)
class Ground:
    """The images of one region."""

    region: Region
    sources: tuple[Source, ...]
    footprints: Path
    side: int  # of a cell, px

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(source.cells for source in self.sources))

    @property
    def cells(self) -> int:
        """Of all images."""
        return self._ends[-1]

    def cell(self, index: int) -> Cell:
        """One of them, 0 to cells - 1."""
        which = bisect_right(self._ends, index)
        source = self.sources[which]
        row, col = divmod(index - self._ends[which] + source.cells, source.cols)
        return Cell(source, row * self.side, col * self.side, self.side)


def survey(plan: Plan, folder: Path) -> list[Ground]:
    """The images of every region; paths are relative to `folder`, that of the plan.

    Raises:
        GenerateError: no imagery over a region, or images that cannot be used: every region is looked at.
    """
    grounds, problems = [], []
    for region in Bar(plan.regions, "regions", disable=len(plan.regions) < 20):
        try:
            grounds.append(_survey(region, folder, plan.tile_px))
        except (DataError, GenerateError) as error:
            problems.append(f"region {region.name}: {error}")
    if problems:
        raise GenerateError("\n".join(problems))
    return grounds


def _survey(region: Region, folder: Path, side: int) -> Ground:
    footprints = folder / region.footprints
    sources = [_source(path, name, region, side) for path, name in _images(region, folder)]
    used = tuple(source for source in sources if source is not None)
    if not used:
        where = f" within bbox {list(region.bbox)}" if region.bbox else ""
        raise GenerateError(f"imagery {region.imagery}: no image of at least {side} x {side} px{where}. Check it.")
    faults = []
    for source in used:
        try:
            check_meets(footprints, source.grid, source.path)
        except DataError as error:
            faults.append(error)
    if len(faults) == len(used):  # single images of a mosaic may show the sea
        raise faults[0]
    return Ground(region, used, footprints, side)


def _source(path: Path, name: str, region: Region, side: int) -> Source | None:
    """An image; None if it lies outside of the region's box or is smaller than a tile."""
    with opened_image(path) as image:
        check_bands(image, path, BANDS)
        grid = grid_of(image, path)
        if (kind := image.dtypes[0]) != "uint8":
            raise GenerateError(
                f"{path}: holds {kind}, expected 8 bits. Scale it as the training images were: gdal_translate -ot Byte "
                "-scale LOW HIGH 1 255."
            )
    if grid.crs is None or grid.crs is NO_NAME:
        raise GenerateError(f"{path}: has no CRS, so no footprints can be placed on it: gdal_edit.py -a_srs, -a_ullr.")
    if region.bbox is not None:
        place = locate_raster(grid.affine, grid.crs.to_wkt(), grid.width, grid.height)
        west, south, east, north = region.bbox
        if place is None or not (west <= place.lon <= east and south <= place.lat <= north):
            return None
    rows, cols = grid.height // side, grid.width // side
    return Source(path, name, grid, rows, cols, _identity(path)) if rows and cols else None


def _images(region: Region, folder: Path) -> list[tuple[Path, str]]:
    """The files of a region, in the order of their names."""
    wanted = folder / region.imagery
    if "://" in region.imagery or "{" in region.imagery:
        raise GenerateError(
            f"imagery is {region.imagery!r}: addresses and XYZ tiles are not read. Download the images first: "
            "gdal_translate, or your provider's tool."
        )
    if wanted.suffix.lower() == ".json":
        return _stac_images(wanted)
    if wanted.is_dir():
        paths = [path for path in wanted.iterdir() if path.suffix.lower() in TIFFS]
    elif wanted.is_file():
        paths = [wanted]
    else:
        paths = [path for path in folder.glob(region.imagery) if path.suffix.lower() in TIFFS]
    if not paths:
        raise GenerateError(f"imagery {region.imagery}: no GeoTIFF found in {folder}. Paths are relative to the plan.")
    return [(path, path.relative_to(folder).as_posix()) for path in sorted(paths) if path.is_relative_to(folder)] or [
        (path, path.as_posix()) for path in sorted(paths)
    ]


def _stac_images(path: Path) -> list[tuple[Path, str]]:
    """The GeoTIFF of every item of a collection: the asset `visual`, else the only one with the role data."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        items = [(str(item["id"]), item["assets"]) for item in content["features"]]
        found = []
        for name, assets in items:
            data = [one for one in assets.values() if "data" in one.get("roles", [])]
            asset = assets.get("visual") or (data[0] if len(data) == 1 else None)
            if asset is None:
                raise GenerateError(f"{path}: item {name} has no asset visual, and not one asset with the role data.")
            found.append((path.parent / str(asset["href"]), str(asset["href"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GenerateError(f"{path}: not a STAC item collection ({type(error).__name__}: {error}).") from None
    if remote := [href for _, href in found if "://" in href]:
        raise GenerateError(f"{path}: {remote[0]} is not on this disk, and nothing is downloaded. Download it first.")
    return sorted(found)


def _identity(path: Path) -> str:
    """Tells whether an image was replaced: its size and both its ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(ENDS_BYTES)
        file.seek(max(0, size - ENDS_BYTES))
        return hashlib.sha256(f"{size}".encode() + head + file.read(ENDS_BYTES)).hexdigest()


def described(grounds: Sequence[Ground]) -> list[dict[str, Any]]:
    """For the record of a set: what must not change while it is made."""
    return [
        {
            "region": ground.region.name,
            "cells": ground.cells,
            "footprints": _identity(ground.footprints),
            "images": {source.name: source.identity for source in ground.sources},
        }
        for ground in grounds
    ]
