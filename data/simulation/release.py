"""Scenes as files: the writer of the simulated release, in the layout and the label schema of xView2."""

import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.simulation.capture import SENSORS, Capture
from data.simulation.disaster import SUBTYPES, UNCLASSIFIED
from data.simulation.events import Event
from data.simulation.history import EarlierLook
from data.simulation.paint import PIXEL_SIZE_M, polygon_at
from data.strict_json import as_json

FOLDERS = ("images", "labels", "targets", "change", "cover")
AGAIN = "again"  # folder of the second post images
METRES_PER_DEGREE = 111_320.0  # of latitude


@dataclass(frozen=True)
class Scene:
    """One finished location, ready to be written."""

    event: Event
    number: int
    split: str
    images: dict[str, NDArray[np.uint8]]  # "pre", "post"
    change: NDArray[np.uint8]  # 0..255, by the disaster
    cover: NDArray[np.uint8]  # 0..255, what nobody could foresee: cloud, smoke, missing data
    polygons: list[NDArray[np.float64]]  # corners x, y in px
    subtypes: list[str]
    uids: list[str]
    origin: tuple[float, float]  # lon, lat of the top left corner
    captures: dict[str, Capture]
    history: list[EarlierLook] = field(default_factory=list)  # the oldest first
    post_again: NDArray[np.uint8] | None = None  # a second image of the aftermath
    pixel_size_m: float = PIXEL_SIZE_M

    @property
    def stem(self) -> str:
        """The file name without phase and suffix."""
        return f"{self.event.name}_{self.number:08d}"


def write_scene(folder: Path, scene: Scene) -> None:
    """Write every file of a scene into its split below `folder`."""
    split = folder / scene.split
    for phase, image in scene.images.items():
        stem = f"{scene.stem}_{phase}_disaster"
        Image.fromarray(image).save(split / "images" / f"{stem}.png", compress_level=3)
        target = _target(scene, phase)
        Image.fromarray(target).save(split / "targets" / f"{stem}_target.png")
        (split / "labels" / f"{stem}.json").write_text(as_json(_label(scene, phase), None), encoding="utf-8")
    Image.fromarray(scene.change).save(split / "change" / f"{scene.stem}_change.png")
    Image.fromarray(scene.cover).save(split / "cover" / f"{scene.stem}_cover.png")
    if scene.post_again is not None:
        path = split / AGAIN / f"{scene.stem}_post_again.png"
        Image.fromarray(scene.post_again).save(path, compress_level=3)
    looks = []
    for number, look in enumerate(scene.history):
        name = f"{scene.stem}_history_{number}.png"
        Image.fromarray(look.image).save(split / "history" / name, compress_level=3)
        looks.append({"image": name, "date": look.date, "cloud_cover": round(look.cloud_cover, 4)})
    if looks:
        (split / "history" / f"{scene.stem}_history.json").write_text(as_json(looks), encoding="utf-8")


def _target(scene: Scene, phase: str) -> NDArray[np.uint8]:
    """The official raster: 0/1 before, 0 to 4 after; un-classified is 0 there."""
    target = np.zeros(scene.change.shape, np.uint8)
    for polygon, subtype in zip(scene.polygons, scene.subtypes, strict=True):
        damage = 0 if subtype == UNCLASSIFIED else SUBTYPES.index(subtype) + 1
        target[polygon_at(polygon, len(target))] = 1 if phase == "pre" else damage
    return target


def _label(scene: Scene, phase: str) -> dict[str, Any]:
    features: dict[str, list[dict[str, Any]]] = {"lng_lat": [], "xy": []}
    for polygon, subtype, uid in zip(scene.polygons, scene.subtypes, scene.uids, strict=True):
        properties = {"feature_type": "building"} | ({"subtype": subtype} if phase == "post" else {}) | {"uid": uid}
        lon, lat = scene.origin
        step = scene.pixel_size_m / METRES_PER_DEGREE
        degrees = polygon * (step / np.cos(np.radians(lat)), -step) + (lon, lat)
        features["lng_lat"].append({"properties": properties, "wkt": _wkt(degrees, 14)})
        features["xy"].append({"properties": properties, "wkt": _wkt(polygon, 9)})
    return {"features": features, "metadata": _metadata(scene, phase)}


def _wkt(corners: NDArray[np.float64], digits: int) -> str:
    return "POLYGON ((" + ", ".join(f"{x:.{digits}f} {y:.{digits}f}" for x, y in corners) + "))"


def _metadata(scene: Scene, phase: str) -> dict[str, str | float | int]:
    capture, name = scene.captures[phase], f"{scene.stem}_{phase}_disaster.png"
    # Looking aside lengthens the path: the ground sample grows with 1 / cos of the angle, squared along the view.
    coarse, side = scene.pixel_size_m / PIXEL_SIZE_M, len(scene.change)
    gsd = coarse * SENSORS[capture.sensor].gsd_m / np.cos(np.radians(capture.off_nadir)) ** 1.5
    return {
        "sensor": capture.sensor,
        "provider_asset_type": capture.sensor,
        "gsd": round(float(gsd), 7),
        "capture_date": capture.date,
        "off_nadir_angle": round(capture.off_nadir, 6),
        "pan_resolution": round(float(gsd) / 4, 8),
        "sun_azimuth": round(capture.sun.azimuth, 6),
        "sun_elevation": round(capture.sun.elevation, 6),
        "target_azimuth": round(capture.target_azimuth, 6),
        "disaster": scene.event.name,
        "disaster_type": scene.event.disaster_type,
        "catalog_id": capture.catalog_id,
        "original_width": side,
        "original_height": side,
        "width": side,
        "height": side,
        "id": urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, name).bytes).decode().rstrip("="),
        "img_name": name,
    }
