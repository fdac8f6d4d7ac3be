"""One tile: its ground and footprints, the damage invented for them, and what is said about it."""

import uuid
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from data.captions.facts import CaptionOptions, caption_facts
from data.captions.styles import captions
from data.errors import DataError
from data.examples.sampler import example_rng
from data.imagery.geo import UNKNOWN, Location, locate_raster
from data.patches.mask import damage_mask
from data.patches.tiles import Window, place_buildings
from data.schema import SENSOR
from data.sources.events import describe_event
from data.sources.labels import Building, Label
from data.sources.vector_file import features_on
from data.sources.vector_label import outlines
from generate.inputs import Pixels
from generate.region.damage import invent
from generate.region.draw import Draw
from generate.region.ground import Cell, Ground
from generate.region.plan import Plan

# The official targets are painted with corners rounded to pixels; past the last one OpenCV bends the outline.
EDGE_PX = 0.51
DIGITS = 6  # of px in label files
LEAST_PX = 4.0  # area of what the edge of a tile leaves of a building, px^2
OF_DAMAGE = 1 << 40  # keeps the generator of the damage apart from that of the draw


@dataclass(frozen=True)
class Tile:
    """Everything of a pair but its post image."""

    draw: Draw
    cell: Cell
    event: str
    pre: Pixels  # (side, side, 3)
    valid: float  # share of its pixels that hold data
    buildings: tuple[Building, ...]  # px of the tile, each with its damage; no holes in several parts
    location: Location
    tried: int  # places looked at, this one included

    @property
    def scene_id(self) -> str:
        """As in a release."""
        return f"{self.event}_{self.draw.number:08d}"

    def mask(self) -> NDArray[np.uint8]:
        """(side, side) as a dataset's: 0 background, 1 to 4 damage."""
        return damage_mask(self.buildings, self.cell.side, self.cell.side)

    def ids(self) -> NDArray[np.int32]:
        """(side, side): 1 + the index of the building, 0 background."""
        from rasterio.features import rasterize

        shapes = [(building.polygon, i) for i, building in enumerate(self.buildings, 1)]
        return np.asarray(rasterize(shapes, out_shape=(self.cell.side,) * 2, dtype="int32"))


def find_tile(plan: Plan, ground: Ground, drawn: Draw) -> tuple[Tile | None, dict[str, int]]:
    """The first of the drawn places that suits, and why others did not; None if none does.

    Raises:
        DataError: an image or the footprints cannot be read.
    """
    why: dict[str, int] = {}
    for tried, index in enumerate(drawn.cells, 1):
        cell = ground.cell(index)
        # Footprints first: most places without buildings are refused without decoding an image.
        found = features_on(ground.footprints, cell.grid)
        try:
            kept = outlines(ground.footprints, found, shapely.box(0, 0, cell.side, cell.side)).kept
        except DataError:  # there are points or lines here only
            kept = []
        here = sum(_is_inside(polygon.centroid, cell.side) for _, polygon in kept)
        if here < plan.min_buildings:
            why["too few buildings"] = why.get("too few buildings", 0) + 1
            continue
        pre, valid = cell.read()
        if valid < plan.min_valid:
            why["too little data"] = why.get("too little data", 0) + 1
            continue
        footprints = [(int(found.numbers[i]), part) for i, polygon in kept for part in _parts(polygon, cell.side)]
        buildings = _damaged(plan, drawn, footprints, cell.side)
        place = locate_raster(cell.grid.affine, cell.grid.crs.to_wkt(), cell.side, cell.side) if cell.grid.crs else None
        event = f"{ground.region.name}-{drawn.disaster}"
        return Tile(drawn, cell, event, pre, valid, buildings, place or UNKNOWN, tried), why
    return None, why


def caption_of(tile: Tile, style: str, taken: str) -> str | None:
    """The caption of the post image in a style; None if labels make none of it."""
    label = Label(
        buildings=tile.buildings,
        control_points=np.empty((0, 4)),
        sensor=dict.fromkeys(SENSOR),
        capture_date=None,
        disaster_type=tile.draw.disaster,
        image_name=None,
        size_px=None,
        original_px=None,
        repaired=0,
        dropped=0,
        other=0,
    )
    side, window = tile.cell.side, Window(0, 0, tile.cell.side)
    (inside,), _ = place_buildings(tile.buildings, [window], side, side)
    before = replace(label, capture_date=date.fromisoformat(taken))
    event = describe_event("", tile.draw.disaster)
    facts = caption_facts(tile.scene_id, event, {"pre": before, "post": label}, tile.location, window, inside)
    entries = captions(facts, CaptionOptions())
    return next((one["text"] for one in entries if (one["style"], one["target"]) == (style, "post")), None)


def _damaged(plan: Plan, drawn: Draw, footprints: list[tuple[int, Polygon]], side: int) -> tuple[Building, ...]:
    centres = shapely.get_coordinates(shapely.centroid(np.array([polygon for _, polygon in footprints], object)))
    rng = example_rng(plan.seed, OF_DAMAGE + drawn.number)
    names = invent(plan, drawn.disaster, drawn.severity, centres / side, rng)
    return tuple(
        Building(_uid(plan, drawn.number, number, i), name, polygon, None)
        for i, ((number, polygon), name) in enumerate(zip(footprints, names, strict=True))
    )


def _uid(plan: Plan, tile: int, feature: int, index: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{plan.name} {plan.seed} {tile} {feature} {index}"))


def _is_inside(point: shapely.Point, side: int) -> bool:
    return bool(0 <= point.x < side and 0 <= point.y < side)


def _parts(polygon: shapely.Geometry, side: int) -> list[Polygon]:
    """What lies in the tile, one polygon after the other, since xBD's labels have no multipolygons."""
    cut = polygon.intersection(shapely.box(0, 0, side - EDGE_PX, side - EDGE_PX))
    parts = [part for part in shapely.get_parts(cut) if isinstance(part, Polygon) and part.area >= LEAST_PX]
    # To the digits of a label file, so that what is painted is what is written.
    rounded = [shapely.Polygon(np.round(shapely.get_coordinates(part.exterior), DIGITS)) for part in parts]
    return [part for part in rounded if part.is_valid and part.area >= LEAST_PX]
