"""Read an xBD label file: buildings with their damage, the sensor, the disaster.

The damage class stands in the post label only; pre and post list the same buildings under the same uid.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from data.errors import DataError
from data.release import Part
from data.schema import DAMAGE_VALUES, SENSOR

Phase = Literal["pre", "post"]

_LARGEST_NUMBER = 1e30  # fits into float32
_LARGEST_COORDINATE = 1e7  # px


@dataclass(frozen=True)
class Building:
    """One polygon of a label file."""

    uid: str
    subtype: str | None  # a key of DAMAGE_VALUES; None in a pre label
    polygon: Polygon | MultiPolygon  # scene pixels, x right, y down, valid
    lng_lat: Polygon | MultiPolygon | None  # degrees, vertices as in the file


@dataclass(frozen=True)
class Label:
    """One label file."""

    buildings: tuple[Building, ...]
    control_points: NDArray[np.float64]  # (n, 4): x, y, lon, lat of every polygon vertex given in both systems
    sensor: Mapping[str, str | float | None]  # the fields of SENSOR, unchanged
    capture_date: date | None
    disaster_type: str | None
    repaired: int  # invalid polygons that were made valid
    dropped: int  # polygons without any area, even after repair


def parse_label(content: bytes, path: Path, phase: Phase) -> Label:
    """Parse the bytes of a label file; `path` is named in errors."""
    document = _json_object(content, path)
    features = _field(document, "features", dict, path)
    listed = _field(features, "xy", list, path, "features.")
    lng_lat = _by_uid(features.get("lng_lat", []), path)
    buildings, points, repaired = [], [], 0
    for i, feature in enumerate(listed):
        where = f"features.xy[{i}]"
        uid = _uid(feature, path, where)
        raw = _polygon(feature, path, where)
        degrees = lng_lat.get(uid)
        if degrees is not None and (pair := _vertex_pairs(raw, degrees)) is not None:
            points.append(pair)
        subtype = _subtype(feature, path, where) if phase == "post" else None
        valid = raw if raw.is_valid else polygonal(shapely.make_valid(raw))
        repaired += valid is not raw
        if not valid.is_empty:
            buildings.append(Building(uid, subtype, valid, degrees))
    metadata = _field(document, "metadata", dict, path)
    return Label(
        buildings=tuple(buildings),
        control_points=np.concatenate(points) if points else np.empty((0, 4)),
        sensor=_sensor(metadata, path),
        capture_date=_capture_date(metadata, path),
        disaster_type=_text(metadata, "disaster_type", path),
        repaired=repaired,
        dropped=len(listed) - len(buildings),
    )


def label_part(label: Label, part: Part) -> Label:
    """What of a large raster's label belongs to a part of it, in the part's pixels.

    All buildings that reach into the part are in, those whose centre is elsewhere too. What was repaired or dropped is
    told of the first part alone, lest it be counted many times.
    """
    bounds = np.array([building.polygon.bounds for building in label.buildings]).reshape(-1, 4)
    # What lies past the raster belongs to its nearest pixel, see `place_buildings`.
    left, top, right, bottom = np.clip(bounds, 0, (part.raster_width, part.raster_height) * 2).T
    inside = (left <= part.col + part.width) & (right >= part.col)
    inside &= (top <= part.row + part.height) & (bottom >= part.row)
    corner = (part.col, part.row)
    return replace(
        label,
        buildings=tuple(
            replace(building, polygon=shapely.transform(building.polygon, lambda xy: xy - corner))
            for building, here in zip(label.buildings, inside, strict=True)
            if here
        ),
        control_points=label.control_points - (*corner, 0, 0),
        repaired=label.repaired if part.number == 0 else 0,
        dropped=label.dropped if part.number == 0 else 0,
    )


def polygonal(geometry: shapely.Geometry) -> Polygon | MultiPolygon:
    """The part of a geometry that has an area; points and lines are left out."""
    flat = shapely.get_parts(shapely.get_parts(geometry))
    areas = [part for part in flat if isinstance(part, Polygon) and part.area > 0]
    return areas[0] if len(areas) == 1 else MultiPolygon(areas)


def _json_object(content: bytes, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, lists in lists in lists
        raise DataError(
            f"{path}: not valid JSON ({error}). Was the download cut short? Fetch the file again."
        ) from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: holds a {type(document).__name__}, expected an object with features and metadata.")
    return document


def _field(parent: dict[str, Any], name: str, kind: type, path: Path, prefix: str = "") -> Any:  # noqa: ANN401
    if name not in parent:
        raise DataError(f"{path}: lacks {prefix}{name}; found {sorted(parent)}. Expected an xBD label file.")
    if not isinstance(parent[name], kind):
        raise DataError(f"{path}: {prefix}{name} is {_short(parent[name])}, expected a {kind.__name__}.")
    return parent[name]


def _uid(feature: object, path: Path, where: str) -> str:
    uid = _properties(feature, path, where).get("uid")
    if not isinstance(uid, str) or not uid or not _is_unicode(uid):
        raise DataError(f"{path}: {where}.properties.uid is {_short(uid)}, expected a non-empty text.")
    return uid


def _properties(feature: object, path: Path, where: str) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(properties, dict):
        raise DataError(f"{path}: {where}.properties is {_short(properties)}, expected an object with uid.")
    return properties


def _subtype(feature: object, path: Path, where: str) -> str:
    subtype = _properties(feature, path, where).get("subtype")
    if subtype is None:
        raise DataError(f"{path}: {where}.properties has no subtype. Is this a pre label saved as a post label?")
    if subtype not in DAMAGE_VALUES:
        raise DataError(
            f"{path}: {where}.properties.subtype is {_short(subtype)}, expected one of {list(DAMAGE_VALUES)}."
        )
    return str(subtype)


def _polygon(feature: dict[str, Any], path: Path, where: str) -> Polygon | MultiPolygon:
    wkt = feature.get("wkt")
    try:
        with np.errstate(invalid="ignore"):  # NaN is reported below, with its place
            geometry = shapely.force_2d(shapely.from_wkt(wkt))
    except (shapely.GEOSException, TypeError) as error:
        raise DataError(f"{path}: {where}.wkt is {_short(wkt)}: {error}. Expected POLYGON ((x y, ...)).") from None
    if not isinstance(geometry, Polygon | MultiPolygon) or geometry.is_empty:
        raise DataError(f"{path}: {where}.wkt is {_short(wkt)}, expected a POLYGON that is not empty.")
    coordinates = shapely.get_coordinates(geometry)
    if not np.isfinite(coordinates).all():
        raise DataError(f"{path}: {where}.wkt is {_short(wkt)}: a coordinate is not a finite number.")
    if np.abs(coordinates).max() > _LARGEST_COORDINATE:
        raise DataError(f"{path}: {where}.wkt is {_short(wkt)}: a coordinate is far outside any image.")
    return geometry


def _by_uid(listed: object, path: Path) -> dict[str, Polygon | MultiPolygon]:
    if not isinstance(listed, list):
        raise DataError(f"{path}: features.lng_lat is {_short(listed)}, expected a list.")
    places = [f"features.lng_lat[{i}]" for i in range(len(listed))]
    return {_uid(f, path, where): _polygon(f, path, where) for f, where in zip(listed, places, strict=True)}


def _vertex_pairs(xy: shapely.Geometry, lng_lat: shapely.Geometry) -> NDArray[np.float64] | None:
    pixels, degrees = shapely.get_coordinates(xy), shapely.get_coordinates(lng_lat)
    return np.hstack([pixels, degrees]) if len(pixels) == len(degrees) else None


def _sensor(metadata: dict[str, Any], path: Path) -> dict[str, str | float | None]:
    return {
        name: _text(metadata, name, path) if value.dtype == "string" else _number(metadata, name, path)
        for name, value in SENSOR.items()
    }


def _text(metadata: dict[str, Any], name: str, path: Path) -> str | None:
    value = metadata.get(name)
    if value is not None and not (isinstance(value, str) and _is_unicode(value)):
        raise DataError(f"{path}: metadata.{name} is {_short(value)}, expected a text.")
    return value or None


def _number(metadata: dict[str, Any], name: str, path: Path) -> float | None:
    value = metadata.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
        raise DataError(f"{path}: metadata.{name} is {_short(value)}, expected a finite number.")
    return float(value)


def _capture_date(metadata: dict[str, Any], path: Path) -> date | None:
    text = _text(metadata, "capture_date", path)
    try:
        return None if text is None else date.fromisoformat(text[:10])
    except ValueError:
        raise DataError(f"{path}: metadata.capture_date is {text!r}, expected 2018-10-13T16:48:15.000Z.") from None


def _is_unicode(text: str) -> bool:
    """JSON can spell half a character, which no file can hold."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
