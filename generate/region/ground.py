"""The images of a plan's regions, and the cells of ground that tiles are cut from."""

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
from data.imagery.grids import NO_NAME, Grid, grid_of, on_grid
from data.imagery.raster import REAL_DTYPES, Bands, check_bands, read_rgb
from data.imagery.stretch import Range
from data.progress import Bar
from data.sources.vector_file import check_meets
from generate.errors import GenerateError
from generate.inputs import Pixels
from generate.region.imagery import Image, file_identity, identity, images_of, opened
from generate.region.plan import Plan, Region, Stretch
from generate.region.resample import held_pixels, percentiles_of, planned_grid, to_bytes


@dataclass(frozen=True)
class Source:
    """One image and its place in the list of cells of its region."""

    image: Image
    grid: Grid  # its own, or that of the plan's ground size
    rows: int  # of whole cells
    cols: int
    identity: str  # hash of its size and both its ends
    bands: Bands
    stretch: Stretch | None
    resampled: bool

    @property
    def name(self) -> str:
        """As the plan finds it."""
        return self.image.name

    @property
    def cells(self) -> int:
        """How many tiles fit side by side."""
        return self.rows * self.cols

    @cached_property
    def limits(self) -> Range | None:
        """Per band, which values become 1 and 255: the same for all its tiles, so that they fit; None: 8 bits."""
        if self.stretch is None:
            return None
        if self.stretch.values:
            return (self.stretch.values,) * 3
        assert self.stretch.percentiles
        with opened(self.image) as image:
            return percentiles_of(image, self.name, self.bands, self.stretch.percentiles)

    def changes(self) -> dict[str, Any]:
        """What was done to its pixels, for the record of a pair; nothing if they were only cut."""
        found: dict[str, Any] = {}
        if self.resampled:
            crs = self.grid.crs
            assert crs is not None
            found["resampled_to"] = f"{crs.to_string()}, {self.grid.affine.a:g} m"
        if self.limits:
            found["stretched_from"] = [list(band) for band in self.limits]
        return found


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
        source, name = self.source, self.source.name
        area = Area(self.col, self.row, self.side, self.side)
        with opened(source.image) as image, on_grid(image, name, source.grid) as view:
            pixels, valid = read_rgb(view, name, source.bands, area, REAL_DTYPES)
        held = held_pixels(pixels, valid)
        if source.limits:
            pixels = to_bytes(pixels, source.limits)
        return np.where(held[..., None], pixels, 0).astype(np.uint8), float(held.mean())


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
            grounds.append(_survey(region, folder, plan))
        except (DataError, GenerateError) as error:
            problems.append(f"region {region.name}: {error}")
    if problems:
        raise GenerateError("\n".join(problems))
    return grounds


def _survey(region: Region, folder: Path, plan: Plan) -> Ground:
    footprints = folder / region.footprints
    sources = [_source(image, region, plan) for image in images_of(region, folder)]
    used = tuple(source for source in sources if source is not None)
    if not used:
        where = f" within bbox {list(region.bbox)}" if region.bbox else ""
        side = plan.tile_px
        raise GenerateError(f"imagery {region.imagery}: no image of at least {side} x {side} px{where}. Check it.")
    faults = []
    for source in used:
        try:
            check_meets(footprints, source.grid, source.name, around=0)
        except DataError as error:
            faults.append(error)
    if len(faults) == len(used):  # single images of a mosaic may show the sea
        raise faults[0]
    return Ground(region, used, footprints, plan.tile_px)


def _source(image: Image, region: Region, plan: Plan) -> Source | None:
    """An image; None if it lies outside of the region's box or is smaller than a tile."""
    with opened(image) as dataset:
        own = grid_of(dataset, image.name)
        if dataset.count < max(region.bands):
            raise GenerateError(
                f"{image.name}: has {dataset.count} bands; the plan takes {list(region.bands)} as red, green, blue. "
                "State others: bands: [1, 2, 3]."
            )
        check_bands(dataset, image.name, region.bands, REAL_DTYPES)
        if (kind := dataset.dtypes[region.bands[0] - 1]) != "uint8" and region.stretch is None:
            raise GenerateError(
                f"{image.name}: holds {kind}, expected 8 bits. State in the plan how it becomes so: stretch: "
                "{percentiles: [2, 98]}, or {values: [LOW, HIGH]} for several images that must fit together."
            )
    if own.crs is None or own.crs is NO_NAME:
        raise GenerateError(
            f"{image.name}: has no CRS, so no footprints can be placed on it: gdal_edit.py -a_srs, -a_ullr."
        )
    place = locate_raster(own.affine, own.crs.to_wkt(), own.width, own.height)
    if region.bbox is not None:
        west, south, east, north = region.bbox
        if place is None or not (west <= place.lon <= east and south <= place.lat <= north):
            return None
    grid = own
    if plan.gsd_m is not None:
        if place is None:
            raise GenerateError(f"{image.name}: lies nowhere on Earth, so it has no ground size. Check its CRS.")
        grid = planned_grid(own, place, plan.gsd_m)
    rows, cols = grid.height // plan.tile_px, grid.width // plan.tile_px
    if not (rows and cols):
        return None
    return Source(image, grid, rows, cols, identity(image), region.bands, region.stretch, resampled=grid is not own)


def described(grounds: Sequence[Ground]) -> list[dict[str, Any]]:
    """For the record of a set: what must not change while it is made."""
    return [
        {
            "region": ground.region.name,
            "cells": ground.cells,
            "footprints": file_identity(ground.footprints),
            "images": {source.name: source.identity for source in ground.sources},
        }
        for ground in grounds
    ]
