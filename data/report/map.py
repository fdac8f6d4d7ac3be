"""The maps of the report: where on Earth the events are, and the scenes of each, coloured by split."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from data.imagery.geo import metres_per_degree

SPLIT_COLOURS = {"train": "#3b6ea8", "validation": "#8e5bb5", "test": "#d9822b"}
COLUMNS = ["scene_id", "centre_lon", "centre_lat", "pixel_size_m", "size", "transform"]
# [[lon, lat], ...] of every coast, degrees, to 0.1: Natural Earth 1:110m land (public domain), version 4.1.0 by way of
# the npm package world-atlas 2.0.2, cut at 180 degrees and simplified by 0.25.
COASTLINES = Path(__file__).with_name("coastlines.json")
WIDTH, HEIGHT = 320, 200  # of an event's map, in the units of its picture
_SCALES_KM = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass
class Box:
    """The ground of a scene's patches, degrees."""

    split: str
    west: float
    south: float
    east: float
    north: float


def maps(rows: Iterable[Mapping[str, Any]]) -> str:
    """All maps; rows are patches with COLUMNS, `event` and `split`. Patches without a place on Earth are not drawn."""
    by_event: dict[str, dict[str, Box]] = defaultdict(dict)
    for row in rows:
        on_earth = abs(row["centre_lat"]) < 90 and abs(row["centre_lon"]) <= 180
        if row["transform"] and on_earth and row["pixel_size_m"] > 0:
            _add(by_event[row["event"]], row)
    if not by_event:
        return '<p class="none">No scene has a place of its own.</p>'
    events = sorted(by_event)
    local = "".join(_event_map(i, event, list(by_event[event].values())) for i, event in enumerate(events, 1))
    world = _world([_middle(by_event[event].values()) for event in events])
    return f'{_legend()}{world}<div class="charts">{local}</div>'


def _add(scenes: dict[str, Box], row: Mapping[str, Any]) -> None:
    lon, lat = row["centre_lon"], row["centre_lat"]
    per_lon, per_lat = metres_per_degree(lat)
    half = row["size"] * row["pixel_size_m"] / 2
    box = scenes.setdefault(row["scene_id"], Box(row["split"], lon, lat, lon, lat))
    box.west, box.east = min(box.west, lon - half / per_lon), max(box.east, lon + half / per_lon)
    box.south, box.north = min(box.south, lat - half / per_lat), max(box.north, lat + half / per_lat)


def _middle(boxes: Iterable[Box]) -> tuple[float, float]:
    everything = _hull(list(boxes))
    return (everything.west + everything.east) / 2, (everything.south + everything.north) / 2


def _hull(boxes: list[Box]) -> Box:
    west, south = min(box.west for box in boxes), min(box.south for box in boxes)
    return Box("", west, south, max(box.east for box in boxes), max(box.north for box in boxes))


def _legend() -> str:
    items = (f'<span><i style="background:{colour}"></i>{split}</span>' for split, colour in SPLIT_COLOURS.items())
    return f'<p class="kinds">{"".join(items)}</p>'


def _world(places: list[tuple[float, float]]) -> str:
    """Longitude and latitude, coastlines, a line every 30 degrees; a number per event."""
    land = f'<path class="land" fill-rule="evenodd" d="{_coastlines()}"/>'
    lines = "".join(f'<line x1="{x}" y1="0" x2="{x}" y2="150"/>' for x in range(0, 361, 30))
    lines += "".join(f'<line x1="0" y1="{y}" x2="360" y2="{y}"/>' for y in range(15, 150, 30))
    names = '<text x="1" y="74" class="small">equator</text><text x="181" y="5" class="small">0° E</text>'
    dots = "".join(
        f'<circle cx="{lon + 180:.2f}" cy="{75 - lat:.2f}" r="1.6"/>'
        f'<text x="{lon + 182:.2f}" y="{74 - lat:.2f}" class="small">{i}</text>'
        for i, (lon, lat) in enumerate(places, 1)
    )
    svg = '<svg viewBox="0 0 360 150" role="img" aria-label="where the events are">'
    return f'<figure class="world">{svg}{land}{lines}{names}{dots}</svg></figure>'


@cache
def _coastlines() -> str:
    """Every coast as a closed path in the units of the world's picture."""
    coasts: list[list[tuple[float, float]]] = json.loads(COASTLINES.read_bytes())
    return "".join("M" + "L".join(f"{lon + 180:g} {75 - lat:g}" for lon, lat in coast) + "Z" for coast in coasts)


def _event_map(number: int, event: str, boxes: list[Box]) -> str:
    hull = _hull(boxes)
    per_lon, per_lat = metres_per_degree((hull.south + hull.north) / 2)
    width_m, height_m = (hull.east - hull.west) * per_lon, (hull.north - hull.south) * per_lat
    scale = min((WIDTH - 20) / width_m, (HEIGHT - 40) / height_m)  # units a metre
    left, top = (WIDTH - width_m * scale) / 2, (HEIGHT - 20 - height_m * scale) / 2
    shapes = "".join(
        f'<rect x="{left + (box.west - hull.west) * per_lon * scale:.2f}" '
        f'y="{top + (hull.north - box.north) * per_lat * scale:.2f}" '
        f'width="{(box.east - box.west) * per_lon * scale:.2f}" '
        f'height="{(box.north - box.south) * per_lat * scale:.2f}" '
        f'class="scene" style="fill:{_colour(box)};stroke:{_colour(box)}"/>'
        for box in boxes
    )
    lon, lat = _middle(boxes)
    plural = "scene" if len(boxes) == 1 else "scenes"
    around = f"{abs(lat):.2f}° {'NS'[lat < 0]}, {abs(lon):.2f}° {'EW'[lon < 0]}"
    note = f"{len(boxes):,} {plural} around {around}; north is up"
    heading = f"<h3>{number} {escape(event)}</h3><p>{note}</p>"
    label = escape(f"scenes of {event}", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
    return f'<figure class="chart">{heading}{svg}{shapes}{_scale_bar(scale)}</svg></figure>'


def _colour(box: Box) -> str:
    return SPLIT_COLOURS.get(box.split, "#667085")


def _scale_bar(units_per_m: float) -> str:
    length = max((km for km in _SCALES_KM if km * 1000 * units_per_m <= WIDTH / 2), default=_SCALES_KM[0])
    end, y = length * 1000 * units_per_m, HEIGHT - 6
    line = f'<line x1="0" y1="{y}" x2="{end:.2f}" y2="{y}" class="bar-line"/>'
    return f'{line}<text x="0" y="{y - 4}">{length:g} km</text>'
