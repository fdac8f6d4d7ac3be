"""Read an xBD label file: buildings with their damage, the sensor, the disaster.

Only the post label has the damage class; pre and post list the same buildings under the same uid.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon

from data.errors import DataError, shortened
from data.schema import DAMAGE_VALUES, SENSOR
from data.sources.release import Part

Phase = Literal["pre", "post"]

_LARGEST_NUMBER = 1e30  # fits into float32
_LARGEST_COORDINATE = 1e7  # px
_BUILDING = "building"  # the one `feature_type` of xBD
_Key = tuple[str, int]  # a uid, and how many of its polygons precede this one
_POLYGONAL = [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON]


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
    image_name: str | None  # of the image that was labelled
    size_px: tuple[float, float] | None  # (width, height) of that image
    original_px: tuple[float, float] | None  # the same before xBD resized it
    repaired: int  # invalid polygons that were made valid
    dropped: int  # polygons without any area, even after repair
    other: int  # polygons that are not buildings, left out


def parse_label(content: bytes, path: Path, phase: Phase) -> Label:
    """Parse the bytes of a label file; `path` is named in errors."""
    document = _json_object(content, path)
    features = _field(document, "features", dict, path)
    listed = _listed(features, "xy", path)
    on_ground = _listed(features, "lng_lat", path) if "lng_lat" in features else []
    lng_lat = dict(zip(*_polygons(on_ground, path, "features.lng_lat"), strict=True))
    keys, polygons = _polygons(listed, path, "features.xy")
    degrees, is_valid = [lng_lat.get(key) for key in keys], shapely.is_valid(polygons)
    buildings, other = [], 0
    for i, (key, raw) in enumerate(zip(keys, polygons, strict=True)):
        if not _is_building(listed[i]):
            other += 1
            continue
        subtype = _subtype(listed[i], path, f"features.xy[{i}]") if phase == "post" else None
        valid = raw if is_valid[i] else polygonal(shapely.make_valid(raw))
        if not valid.is_empty:
            buildings.append(Building(key[0], subtype, valid, degrees[i]))
    metadata = _field(document, "metadata", dict, path)
    return Label(
        buildings=tuple(buildings),
        control_points=_control_points(polygons, np.array(degrees, object)),
        sensor=_sensor(metadata, path),
        capture_date=_capture_date(metadata, path),
        disaster_type=_text(metadata, "disaster_type", path),
        image_name=_text(metadata, "img_name", path),
        size_px=_size(metadata, "width", "height", path),
        original_px=_size(metadata, "original_width", "original_height", path),
        repaired=int(np.sum(~is_valid)),
        dropped=len(listed) - len(buildings) - other,
        other=other,
    )


def label_part(label: Label, part: Part) -> Label:
    """The share of a large raster's label that belongs to one part of it, in the part's pixels.

    It has all buildings that reach into the part, including those whose centre is elsewhere. What was repaired or left
    out is reported for the first part only, so that it is counted once.
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
        other=label.other if part.number == 0 else 0,
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
            f"{path}: not valid JSON ({error}). Was the download truncated? Fetch the file again."
        ) from None
    if not isinstance(document, dict):
        raise DataError(f"{path}: holds a {type(document).__name__}, expected an object with features and metadata.")
    return document


def _field(parent: dict[str, Any], name: str, kind: type, path: Path, prefix: str = "") -> Any:  # noqa: ANN401
    if name not in parent:
        raise DataError(f"{path}: lacks {prefix}{name}; found {sorted(parent)}. Expected an xBD label file.")
    if not isinstance(parent[name], kind):
        raise DataError(f"{path}: {prefix}{name} is {shortened(parent[name])}, expected a {kind.__name__}.")
    return parent[name]


def _listed(features: dict[str, Any], name: str, path: Path) -> list[Any]:
    """A list of features; null is an empty one."""
    return [] if features.get(name, ...) is None else _field(features, name, list, path, "features.")


def _uid(feature: object, path: Path, where: str) -> str:
    uid = _properties(feature, path, where).get("uid")
    if not isinstance(uid, str) or not uid or not _is_unicode(uid):
        raise DataError(f"{path}: {where}.properties.uid is {shortened(uid)}, expected a non-empty text.")
    return uid


def _properties(feature: object, path: Path, where: str) -> dict[str, Any]:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(properties, dict):
        raise DataError(f"{path}: {where}.properties is {shortened(properties)}, expected an object with uid.")
    return properties


def _is_building(feature: dict[str, Any]) -> bool:
    return feature["properties"].get("feature_type") in (None, "", _BUILDING)


def _subtype(feature: object, path: Path, where: str) -> str:
    subtype = _properties(feature, path, where).get("subtype")
    if subtype is None:
        raise DataError(f"{path}: {where}.properties has no subtype. Is this a pre label saved as a post label?")
    if not isinstance(subtype, str) or subtype not in DAMAGE_VALUES:
        raise DataError(
            f"{path}: {where}.properties.subtype is {shortened(subtype)}, expected one of {list(DAMAGE_VALUES)}."
        )
    return subtype


def _polygons(listed: list[Any], path: Path, name: str) -> tuple[list[_Key], NDArray[np.object_]]:
    """The keys and the polygons of all features; parsed together: one by one would take longer than all the rest."""
    keys, seen = [], Counter[str]()
    for i, feature in enumerate(listed):
        uid = _uid(feature, path, f"{name}[{i}]")
        keys.append((uid, seen[uid]))
        seen[uid] += 1
    wkts = [_wkt(feature, path, f"{name}[{i}]") for i, feature in enumerate(listed)]
    with np.errstate(invalid="ignore"):  # NaN is reported below, with its place
        polygons: NDArray[np.object_] = shapely.force_2d(shapely.from_wkt(np.array(wkts, object), on_invalid="ignore"))
    fine = np.isin(shapely.get_type_id(polygons), _POLYGONAL) & ~shapely.is_empty(polygons)
    coordinates, index = shapely.get_coordinates(polygons, return_index=True)
    fine[index[~(np.abs(coordinates) <= _LARGEST_COORDINATE).all(axis=1)]] = False  # NaN too
    if not fine.all():
        i = int(fine.argmin())
        raise DataError(f"{path}: {name}[{i}].wkt is {shortened(wkts[i])}{_fault(wkts[i])}")
    return keys, polygons


def _wkt(feature: dict[str, Any], path: Path, where: str) -> str:
    wkt = feature.get("wkt")
    if not isinstance(wkt, str) or not _is_unicode(wkt):
        raise DataError(f"{path}: {where}.wkt is {shortened(wkt)}, expected POLYGON ((x y, ...)).")
    return wkt


def _fault(wkt: str) -> str:
    try:
        with np.errstate(invalid="ignore"):
            geometry = shapely.force_2d(shapely.from_wkt(wkt))
    except shapely.GEOSException as error:
        return f": {error}. Expected POLYGON ((x y, ...))."
    if not isinstance(geometry, Polygon | MultiPolygon) or geometry.is_empty:
        return ", expected a POLYGON that is not empty."
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        return ": a coordinate is not a finite number."
    return ": a coordinate is far outside any image."


def _control_points(xy: NDArray[np.object_], lng_lat: NDArray[np.object_]) -> NDArray[np.float64]:
    """The vertices of the polygons that have as many in degrees; None has none. All at once, as for `_polygons`."""
    paired = shapely.get_num_coordinates(xy) == shapely.get_num_coordinates(lng_lat)
    return np.hstack([shapely.get_coordinates(polygons[paired]) for polygons in (xy, lng_lat)])


def _sensor(metadata: dict[str, Any], path: Path) -> dict[str, str | float | None]:
    return {
        name: _text(metadata, name, path) if value.dtype == "string" else _number(metadata, name, path)
        for name, value in SENSOR.items()
    }


def _text(metadata: dict[str, Any], name: str, path: Path) -> str | None:
    value = metadata.get(name)
    if value is not None and not (isinstance(value, str) and _is_unicode(value)):
        raise DataError(f"{path}: metadata.{name} is {shortened(value)}, expected a text.")
    return value or None


def _number(metadata: dict[str, Any], name: str, path: Path) -> float | None:
    value = metadata.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
        raise DataError(f"{path}: metadata.{name} is {shortened(value)}, expected a finite number.")
    return float(value)


def _size(metadata: dict[str, Any], width: str, height: str, path: Path) -> tuple[float, float] | None:
    found = _number(metadata, width, path), _number(metadata, height, path)
    return (found[0], found[1]) if found[0] and found[1] else None


def _capture_date(metadata: dict[str, Any], path: Path) -> date | None:
    text = _text(metadata, "capture_date", path)
    try:
        return None if text is None else date.fromisoformat(text[:10])
    except ValueError:
        raise DataError(f"{path}: metadata.capture_date is {text!r}, expected 2018-10-13T16:48:15.000Z.") from None


def _is_unicode(text: str) -> bool:
    """JSON can spell half a surrogate pair, which no file can hold."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
