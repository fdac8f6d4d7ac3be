"""One scene in, its dataset rows out. Runs in worker processes."""

import hashlib
import math
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.captions.facts import CaptionFacts, CaptionOptions, Capture, caption_facts
from data.captions.styles import captions
from data.dataset.history_columns import history_columns
from data.errors import DataError
from data.files import check_regular, read_file, unreadable
from data.imagery.encode import encode_png
from data.imagery.geo import Location, locate, locate_raster, window_affine
from data.imagery.raster import Bands
from data.options import MaskRule
from data.patches.mask import damage_mask
from data.patches.tiles import PatchBuilding, Window, check_size, grid, place_buildings
from data.quality.alignment import move_change, move_cover
from data.quality.likeness import mix_up
from data.quality.pair import Pair, quality_columns, study_pair
from data.quality.screening import Screening
from data.schema import DAMAGE_VALUES, SENSOR
from data.sources.events import describe_event
from data.sources.history import check_older
from data.sources.label_pair import check_sizes, read_labels, scene_georeference
from data.sources.labels import Building, Label, Phase
from data.sources.release import SceneFiles
from data.sources.scene_images import SceneImages, read_scene, scene_place
from data.sources.survey import EventSurvey
from data.storage import sha256

Row = dict[str, Any]
Pixels = NDArray[np.uint8]
PHASES: tuple[Phase, Phase] = ("pre", "post")


@dataclass(frozen=True)
class Cut:
    """How every scene of a dataset is cut into rows."""

    size: int  # px, of a patch
    captions: CaptionOptions
    screening: Screening
    bands: Bands
    mask_rule: MaskRule

    def __post_init__(self) -> None:
        """Stop on a size that no network accepts."""
        check_size(self.size)


@dataclass(frozen=True)
class SceneTask:
    """What a worker needs to build one scene."""

    scene: SceneFiles
    event: EventSurvey
    cut: Cut
    history: bool  # whether rows have the columns HISTORY, as they do if any scene of the dataset has images


@dataclass
class SceneResult:
    """What became of one scene."""

    scene: SceneFiles
    rows: list[Row] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)  # sha256 per source file
    left_out: list[tuple[str, str]] = field(default_factory=list)  # patches below the wanted quality, and why
    quarantine: str = ""  # why the scene cannot be used; "" if it can
    remarks: list[str] = field(default_factory=list)  # what the user should know about a scene that is built
    margin_buildings: int = 0  # counted by no patch
    repaired_polygons: int = 0
    dropped_polygons: int = 0
    other_polygons: int = 0  # no buildings
    residual_px: float | None = None  # of the georeference
    place_fault: str = ""  # why the georeference is not used


@dataclass(frozen=True)
class _Scene:
    """A decoded scene."""

    files: SceneFiles
    pair: Pair
    labels: dict[Phase, Label]
    mask: Pixels | None
    change: Pixels | None
    cover: Pixels | None
    post_again: Pixels | None
    location: Location
    disaster_type: str
    captions: CaptionOptions
    history: list[Pixels] | None  # of files.history; None: the dataset has no such columns


def build_scene(task: SceneTask) -> SceneResult:
    """Build all rows of a scene, or record why it is quarantined."""
    result = SceneResult(task.scene)
    try:
        scene = _decode(task, result)
        _add_rows(scene, task, result)
    except DataError as error:
        result.quarantine, result.rows = str(error), []
        result.left_out, result.remarks = [], []
    return result


def _read_labels(scene: SceneFiles, result: SceneResult) -> dict[Phase, Label]:
    """The labels; and the digests of the scene's files, but of a vector file and a large raster those of its share."""
    contents = {}
    for role, path in scene.roles().items():
        if path in scene.label_files():
            contents[path] = read_file(path)
            digest = hashlib.sha256(contents[path]).hexdigest()
        elif scene.part is None and role != "vectors":
            check_regular(path)
            try:
                digest = sha256(path)
            except OSError as error:
                raise unreadable(path, error) from None
        else:
            continue
        result.digests[f"{scene.official_split}/{scene.scene_id}/{role}"] = digest
    labels = read_labels(scene, contents)
    if scene.vectors:
        read = [(one.subtype, one.polygon.wkb_hex) for label in labels.values() for one in label.buildings]
        digest = hashlib.sha256(repr(read).encode()).hexdigest()
        result.digests[f"{scene.official_split}/{scene.scene_id}/vectors"] = digest
    return labels


def _decode(task: SceneTask, result: SceneResult) -> _Scene:
    files = task.scene
    labels = _read_labels(files, result)
    check_older(files.history, files.pre_date or (labels["pre"].capture_date if "pre" in labels else None))
    read = read_scene(files, task.cut.bands)
    result.remarks += read.remarks
    if files.part:
        _digest_pixels(read, files, result)
    height, width, _ = read.images["pre"].shape
    part = files.part
    check_sizes(files, labels, *((part.raster_width, part.raster_height) if part else (width, height)))
    pair = study_pair(read.images, read.masked, task.cut.size, task.cut.screening.align)
    if doubt := mix_up(pair.images["pre"], pair.images["post"], pair.nodata["pre"] | pair.nodata["post"]):
        result.remarks.append(doubt)
    fit = scene_georeference(labels)
    if fit:
        result.residual_px, result.place_fault = fit.residual_px, fit.fault
    result.repaired_polygons = sum(label.repaired for label in labels.values())
    result.dropped_polygons = sum(label.dropped for label in labels.values())
    result.other_polygons = sum(label.other for label in labels.values())
    exact = fit is not None and not fit.fault
    mask = read.damage
    if "post" in labels:
        mask = damage_mask(labels["post"].buildings, height, width, task.cut.mask_rule)
    types = (files.disaster_type, *(label.disaster_type for label in labels.values()), task.event.disaster_type)
    return _Scene(
        files=files,
        pair=pair,
        labels=labels,
        mask=mask,
        change=None if read.change is None else move_change(read.change, pair.moved),
        cover=None if read.cover is None else move_cover(read.cover, pair.moved),
        post_again=read.post_again,
        location=locate(fit.affine, width, height) if fit and exact else scene_place(files)[0] or task.event.location,
        disaster_type=next((word for word in types if word), ""),
        captions=task.cut.captions,
        history=read.history if task.history else None,
    )


def _digest_pixels(read: SceneImages, files: SceneFiles, result: SceneResult) -> None:
    for phase, image in read.images.items():
        name = f"{files.official_split}/{files.scene_id}/{phase}_image"
        result.digests[name] = hashlib.sha256(image.tobytes()).hexdigest()


def _add_rows(scene: _Scene, task: SceneTask, result: SceneResult) -> None:
    height, width, _ = scene.pair.images["pre"].shape
    windows = grid(height, width, task.cut.size)
    label = scene.labels.get("post", scene.labels.get("pre"))
    buildings: tuple[Building, ...] = label.buildings if label else ()
    part = scene.files.part
    picture = (-part.row, -part.col, part.raster_height - part.row, part.raster_width - part.col) if part else None
    placed, result.margin_buildings = place_buildings(buildings, windows, height, width, picture)
    for window, inside in zip(windows, placed, strict=True):
        quality = quality_columns(scene.pair, window)
        if reason := task.cut.screening.reason(quality, scene.disaster_type):
            result.left_out.append((_patch_id(scene, window), reason))
        else:
            result.rows.append(_row(scene, window, inside, quality))


def _patch_id(scene: _Scene, window: Window) -> str:
    return f"{scene.files.scene_id}_{window.row:04d}_{window.col:04d}_{window.size}"


def _row(scene: _Scene, window: Window, inside: list[PatchBuilding], quality: Row) -> Row:
    files, patch_id, place = scene.files, _patch_id(scene, window), _place(scene, window)
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
        "damage_mask": _png_or_none(scene.mask, window, f"{patch_id}_damage.png"),
        "change_mask": _png_or_none(scene.change, window, f"{patch_id}_change.png"),
        "cover_mask": _png_or_none(scene.cover, window, f"{patch_id}_cover.png"),
        "post_again": _png_or_none(scene.post_again, window, f"{patch_id}_post_again.png"),
        "captions": captions(_caption_facts(scene, window, inside, patch_id), scene.captions),
        "sensor_pre": _sensor(scene, "pre"),
        "sensor_post": _sensor(scene, "post"),
        "counts": {name.replace("-", "_"): classes[name] if classes else None for name in DAMAGE_VALUES},
        **quality,
        "buildings": [_building(placed) for placed in inside],
        **place,
        **history_columns(scene.history, files.history, window, patch_id, place["metadata_pre"]),
    }


def _crop(pixels: Pixels, window: Window) -> Pixels:
    return pixels[window.row : window.row + window.size, window.col : window.col + window.size]


def _png_or_none(pixels: Pixels | None, window: Window, name: str) -> Row | None:
    return None if pixels is None else {"bytes": encode_png(_crop(pixels, window)), "path": name}


def _classes(inside: list[PatchBuilding]) -> dict[str, int]:
    subtypes = [placed.building.subtype for placed in inside if placed.counted]
    return {name: subtypes.count(name) for name in DAMAGE_VALUES}


def _caption_facts(scene: _Scene, window: Window, inside: list[PatchBuilding], patch_id: str) -> CaptionFacts:
    event = describe_event(scene.files.event, scene.disaster_type)
    event = replace(event, disaster_type=scene.disaster_type)  # the label's word wins over the table's
    facts = caption_facts(patch_id, event, scene.labels, scene.location, window, inside)
    unlabelled: dict[Phase, Capture] = {
        phase: Capture(day=day) for phase in PHASES if phase not in scene.labels and (day := _day(scene, phase))
    }
    return replace(facts, captures={**facts.captures, **unlabelled})


def _sensor(scene: _Scene, phase: Phase) -> Row:
    return dict(scene.labels[phase].sensor) if phase in scene.labels else dict.fromkeys(SENSOR)


def _building(placed: PatchBuilding) -> Row:
    subtype = placed.building.subtype
    damage = DAMAGE_VALUES[subtype] if subtype else None
    return {"uid": placed.building.uid, "damage": damage, "wkt": placed.wkt, "counted": placed.counted}


def _day(scene: _Scene, phase: Phase) -> date | None:
    """When an image was taken: according to the manifest, else to the label."""
    stated = scene.files.pre_date if phase == "pre" else scene.files.post_date
    return stated or (scene.labels[phase].capture_date if phase in scene.labels else None)


def _place(scene: _Scene, window: Window) -> Row:
    place = scene.location
    if place.affine is not None:
        affine = window_affine(place.affine, window.row, window.col)
        if place.source == "raster":
            place = locate_raster(affine, place.crs_wkt, window.size, window.size) or place
        else:
            place = locate(affine, window.size, window.size)
    return {
        "metadata_pre": _metadata(place, _day(scene, "pre")),
        "metadata_post": _metadata(place, _day(scene, "post")),
        "location_source": place.source,
        "centre_lon": place.lon,
        "centre_lat": place.lat,
        "pixel_size_m": place.pixel_size_m,
        "crs_wkt": place.crs_wkt if place.affine else "",
        "transform": list(place.affine[:6]) if place.affine else [],
    }


def _metadata(place: Location, taken: date | None) -> list[float]:
    """METADATA_FIELDS of one image. xBD does not give the cloud cover; an unlabelled image may have no date."""
    day = [taken.year, taken.month, taken.day] if taken else [math.nan] * 3
    return [place.lon, place.lat, place.pixel_size_m, math.nan, *day]
