"""One scene in, its dataset rows out. Runs in worker processes."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.alignment import move_change
from data.caption_facts import CaptionFacts, CaptionOptions, caption_facts
from data.captions import captions
from data.errors import DataError
from data.events import describe_event
from data.geo import MAX_RESIDUAL_PX, WGS84_WKT, Location, locate, window_affine
from data.images import decode_grey, decode_rgb, encode_png, transparent_pixels
from data.labels import Building, Label, Phase
from data.mask import damage_mask
from data.pair import Pair, quality_columns, study_pair
from data.release import SceneFiles
from data.schema import DAMAGE_VALUES, SENSOR
from data.screening import Screening
from data.survey import EventSurvey, read_labels, scene_georeference
from data.tiles import PatchBuilding, Window, grid, place_buildings

Row = dict[str, Any]
Pixels = NDArray[np.uint8]
PHASES: tuple[Phase, Phase] = ("pre", "post")


@dataclass(frozen=True)
class SceneTask:
    """What a worker needs to build one scene."""

    scene: SceneFiles
    size: int
    event: EventSurvey
    captions: CaptionOptions
    screening: Screening = field(default_factory=Screening)


@dataclass
class SceneResult:
    """What became of one scene."""

    scene: SceneFiles
    rows: list[Row] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)  # sha256 per source file
    left_out: list[tuple[str, str]] = field(default_factory=list)  # patches below the wanted quality, and why
    quarantine: str = ""  # why the scene cannot be used; "" if it can
    margin_buildings: int = 0  # counted by no patch
    repaired_polygons: int = 0
    dropped_polygons: int = 0
    residual_px: float | None = None  # of the georeference


@dataclass(frozen=True)
class _Scene:
    """A decoded scene."""

    files: SceneFiles
    pair: Pair
    labels: dict[Phase, Label]
    mask: Pixels | None
    change: Pixels | None
    location: Location
    disaster_type: str
    captions: CaptionOptions


def build_scene(task: SceneTask) -> SceneResult:
    """Build all rows of a scene, or say why it is quarantined."""
    result = SceneResult(task.scene)
    try:
        contents = _read_files(task.scene, result)
        scene = _decode(task, contents, result)
        _add_rows(scene, task, result)
    except DataError as error:
        result.quarantine, result.rows = str(error), []
        result.left_out = []
    return result


def _read_files(scene: SceneFiles, result: SceneResult) -> dict[Path, bytes]:
    contents = {}
    for path in scene.files():
        try:
            contents[path] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). Check its permissions and the disk.") from None
        name = f"{scene.official_split}/{path.parent.name}/{path.name}"
        result.digests[name] = hashlib.sha256(contents[path]).hexdigest()
    return contents


def _decode(task: SceneTask, contents: dict[Path, bytes], result: SceneResult) -> _Scene:
    files = task.scene
    labels = read_labels(files, contents)
    paths: dict[Phase, Path] = {"pre": files.pre_image, "post": files.post_image}
    images = {phase: decode_rgb(contents[path], path) for phase, path in paths.items()}
    height, width, _ = images["pre"].shape
    _check_shape(images["post"], (height, width), files.post_image)
    if min(height, width) < task.size:
        raise DataError(f"{files.pre_image}: {width} x {height} px, smaller than a patch of {task.size} px.")
    change = decode_grey(contents[files.change], files.change) if files.change else None
    if change is not None and files.change is not None:
        _check_shape(change, (height, width), files.change)
    masked = {phase: transparent_pixels(contents[path], path) for phase, path in paths.items()}
    pair = study_pair(images, masked, task.screening.align)
    fit = scene_georeference(labels)
    result.residual_px = fit.residual_px if fit else None
    result.repaired_polygons = sum(label.repaired for label in labels.values())
    result.dropped_polygons = sum(label.dropped for label in labels.values())
    exact = fit is not None and fit.residual_px <= MAX_RESIDUAL_PX
    return _Scene(
        files=files,
        pair=pair,
        labels=labels,
        mask=damage_mask(labels["post"].buildings, height, width) if "post" in labels else None,
        change=move_change(change, pair.moved) if change is not None and pair.moved.length_px else change,
        location=locate(fit.affine, width, height) if fit and exact else task.event.location,
        disaster_type=next(filter(None, (label.disaster_type for label in labels.values())), task.event.disaster_type),
        captions=task.captions,
    )


def _check_shape(pixels: Pixels, expected: tuple[int, int], path: Path) -> None:
    height, width = pixels.shape[:2]
    if (height, width) != expected:
        raise DataError(f"{path}: {width} x {height} px, but the pre image has {expected[1]} x {expected[0]} px.")


def _add_rows(scene: _Scene, task: SceneTask, result: SceneResult) -> None:
    height, width, _ = scene.pair.images["pre"].shape
    windows = grid(height, width, task.size)
    label = scene.labels.get("post", scene.labels.get("pre"))
    buildings: tuple[Building, ...] = label.buildings if label else ()
    placed, result.margin_buildings = place_buildings(buildings, windows, height, width)
    for window, inside in zip(windows, placed, strict=True):
        quality = quality_columns(scene.pair, window)
        if reason := task.screening.reason(quality):
            result.left_out.append((_patch_id(scene, window), reason))
        else:
            result.rows.append(_row(scene, window, inside, quality))


def _patch_id(scene: _Scene, window: Window) -> str:
    return f"{scene.files.scene_id}_{window.row:04d}_{window.col:04d}_{window.size}"


def _row(scene: _Scene, window: Window, inside: list[PatchBuilding], quality: Row) -> Row:
    files, patch_id = scene.files, _patch_id(scene, window)
    pre_png, post_png = (encode_png(_crop(scene.pair.images[phase], window)) for phase in PHASES)
    classes = _classes(inside) if "post" in scene.labels else None
    return {
        "patch_id": patch_id,
        "scene_id": files.scene_id,
        "event": files.event,
        "disaster_type": scene.disaster_type,
        "official_split": files.official_split,
        "labels": files.labels,
        "row": window.row,
        "col": window.col,
        "size": window.size,
        "pre": {"bytes": pre_png, "path": f"{patch_id}_pre.png"},
        "post": {"bytes": post_png, "path": f"{patch_id}_post.png"},
        "pre_sha256": hashlib.sha256(pre_png).hexdigest(),
        "post_sha256": hashlib.sha256(post_png).hexdigest(),
        "damage_mask": _mask_png(scene.mask, window, f"{patch_id}_damage.png"),
        "change_mask": _mask_png(scene.change, window, f"{patch_id}_change.png"),
        "captions": captions(_caption_facts(scene, window, inside, patch_id), scene.captions),
        "sensor_pre": _sensor(scene, "pre"),
        "sensor_post": _sensor(scene, "post"),
        "counts": {name.replace("-", "_"): classes[name] if classes else None for name in DAMAGE_VALUES},
        **quality,
        "buildings": [_building(placed) for placed in inside],
        **_place(scene, window),
    }


def _crop(pixels: Pixels, window: Window) -> Pixels:
    return pixels[window.row : window.row + window.size, window.col : window.col + window.size]


def _mask_png(pixels: Pixels | None, window: Window, name: str) -> Row | None:
    return None if pixels is None else {"bytes": encode_png(_crop(pixels, window)), "path": name}


def _classes(inside: list[PatchBuilding]) -> dict[str, int]:
    subtypes = [placed.building.subtype for placed in inside if placed.counted]
    return {name: subtypes.count(name) for name in DAMAGE_VALUES}


def _caption_facts(scene: _Scene, window: Window, inside: list[PatchBuilding], patch_id: str) -> CaptionFacts:
    event = replace(
        describe_event(scene.files.event, scene.disaster_type), disaster_type=scene.disaster_type
    )  # the label's word wins over the table's
    return caption_facts(patch_id, event, scene.labels, scene.location, window, inside)


def _sensor(scene: _Scene, phase: Phase) -> Row:
    return dict(scene.labels[phase].sensor) if phase in scene.labels else dict.fromkeys(SENSOR)


def _building(placed: PatchBuilding) -> Row:
    subtype = placed.building.subtype
    damage = DAMAGE_VALUES[subtype] if subtype else None
    return {"uid": placed.building.uid, "damage": damage, "wkt": placed.wkt, "counted": placed.counted}


def _place(scene: _Scene, window: Window) -> Row:
    place = scene.location
    if place.affine is not None:
        place = locate(window_affine(place.affine, window.row, window.col), window.size, window.size)
    return {
        "metadata_pre": _metadata(place, scene.labels.get("pre")),
        "metadata_post": _metadata(place, scene.labels.get("post")),
        "location_source": place.source,
        "centre_lon": place.lon,
        "centre_lat": place.lat,
        "pixel_size_m": place.pixel_size_m,
        "crs_wkt": WGS84_WKT if place.affine else "",
        "transform": list(place.affine[:6]) if place.affine else [],
    }


def _metadata(place: Location, label: Label | None) -> list[float]:
    """METADATA_FIELDS of one image. xBD does not tell the cloud cover; an unlabelled image has no date."""
    taken: date | None = label.capture_date if label else None
    day = [taken.year, taken.month, taken.day] if taken else [math.nan] * 3
    return [place.lon, place.lat, place.pixel_size_m, math.nan, *day]
