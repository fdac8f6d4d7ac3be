"""Write a simulated release in the xView2 layout: procedural scenes whose true change is known at every pixel.

Smallest run, about ten seconds:  pre2post simulate --out /tmp/release --scenes 6
"""

import json
import os
import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import shift as move
from tqdm import tqdm

from data.simulated_aftermath import Surface, ravage
from data.simulated_disaster import SUBTYPES, UNCLASSIFIED, classify, draw_severity, unleash
from data.simulated_events import DISASTER_TYPES, EVENTS, Event
from data.simulated_paint import (
    PIXEL_SIZE_M,
    SIZE_PX,
    Floats,
    Look,
    Sun,
    cast_shadow,
    noise,
    polygon_at,
    ramp,
    sunlight,
)
from data.simulated_place import Place, make_place

METRES_PER_DEGREE = 111_320.0  # of latitude
# Multispectral and panchromatic ground sample distance at nadir, m, and blur and noise of the delivered image.
SENSORS = {"WORLDVIEW02": (1.85, 0.75, 2.2), "WORLDVIEW03_VNIR": (1.24, 0.6, 1.8), "GEOEYE01": (1.65, 0.7, 2.0)}
CATALOG_PREFIX = {"WORLDVIEW02": "1030010", "WORLDVIEW03_VNIR": "1040010", "GEOEYE01": "1050010"}
SHIFTED_SHARE = 0.2  # of post images do not lie exactly on pre
WEDGE_SHARE = 0.05  # of scenes touch the border of the satellite's strip
VEILED_SHARE = 0.25  # of struck scenes have a cloud or smoke over a part
VEIL_HIDES = 0.55  # opacity above which a building cannot be assessed
SHADOW_CHANGE = 0.5  # how much of a change it is when the shadow of something that fell is gone


@dataclass(frozen=True)
class Scene:
    """One finished location, ready to be written."""

    event: Event
    number: int
    split: str
    images: dict[str, NDArray[np.uint8]]  # "pre", "post"
    change: NDArray[np.uint8]
    polygons: list[NDArray[np.float64]]  # corners x, y in px
    subtypes: list[str]
    uids: list[str]
    origin: tuple[float, float]  # lon, lat of the top left corner
    captures: dict[str, "Capture"]

    @property
    def stem(self) -> str:
        """The file name without phase and suffix."""
        return f"{self.event.name}_{self.number:08d}"


@dataclass(frozen=True)
class Capture:
    """One acquisition: what the metadata of a label file says of it."""

    sensor: str
    date: str
    catalog_id: str
    off_nadir: float
    target_azimuth: float
    sun: Sun


def simulate(*, out: Path, scenes: int = 40, seed: int = 0, workers: int = os.cpu_count() or 1) -> None:
    """Write a release of simulated scenes in the xView2 layout.

    Besides `images`, `labels` and `targets`, each split has a folder `change`: how much the surface of each pixel
    has changed, 0 (only light, season and sensor differ) to 255 (replaced). Cloud and smoke count as change.

    Args:
        out: Folder to write; must not exist or be empty.
        scenes: Number of scenes. Any six in a row hold all six disaster types.
        seed: Scene k depends on (seed, k) only, not on `scenes` or `workers`.
        workers: Processes to use.

    Raises:
        ValueError: If `out` is not empty, or a number is not positive.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: is not an empty folder. Nothing was written; choose another --out or empty it.")
    if scenes < 1 or workers < 1:
        raise ValueError(f"scenes is {scenes} and workers is {workers}; both must be at least 1.")
    with _appearing_whole(out) as folder:
        for split in ("train", "test"):
            for kind in ("images", "labels", "targets", "change"):
                (folder / split / kind).mkdir(parents=True)
        job = partial(_make_scene, folder, seed)
        if workers == 1:
            for index in tqdm(range(scenes), desc="simulate", unit="scene"):
                job(index)
            return
        with ProcessPoolExecutor(min(workers, scenes)) as pool:
            try:
                for _ in tqdm(pool.map(job, range(scenes)), total=scenes, desc="simulate", unit="scene"):
                    pass
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)  # no worker may still write when the folder goes
                raise


@contextmanager
def _appearing_whole(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its name at the end, or vanishes if anything goes wrong."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)  # mkdtemp makes it private
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _make_scene(folder: Path, seed: int, index: int) -> None:
    _write_scene(folder, render_scene(seed, index))


def render_scene(seed: int, index: int) -> Scene:
    """Scene `index` of the release with this seed."""
    rng = np.random.default_rng((seed, index))
    event = EVENTS[index % len(EVENTS)]
    place = make_place(rng, event)
    force = unleash(rng, place, event.disaster_type, draw_severity(rng))
    classes = classify(rng, place, force)
    captures = _captures(rng, event)
    surface = ravage(rng, place, force, classes)
    images, change, veil = _photograph(rng, event, place, surface, captures)
    subtypes = [
        UNCLASSIFIED if veil[place.building_ids == number].mean() > VEIL_HIDES else SUBTYPES[damage]
        for number, damage in enumerate(classes, start=1)
    ]
    lon = event.lon + rng.uniform(-0.06, 0.06)
    lat = event.lat + rng.uniform(-0.06, 0.06)
    # Every fifth scene of an event, and of a disaster type, is held out for the test.
    turn, kind = divmod(index, len(DISASTER_TYPES))
    return Scene(
        event=event,
        number=index // len(EVENTS),
        split="test" if (turn + kind) % 5 == 4 else "train",
        images=images,
        change=change,
        polygons=[np.asarray(building.polygon.exterior.coords) for building in place.buildings],
        subtypes=subtypes,
        uids=[str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in place.buildings],
        origin=(lon, lat),
        captures=captures,
    )


def _captures(rng: np.random.Generator, event: Event) -> dict[str, Capture]:
    """The two acquisitions of the event; the sun stands nearly alike, so that shadows stay comparable."""
    # A generator of the event's own: all its scenes come from the same two passes.
    own = np.random.default_rng(list(event.name.encode()))
    noon = 150.0 if event.lat > 0 else 35.0
    azimuth, elevation = noon + own.uniform(-14, 14), own.uniform(42, 62)
    found = {}
    for phase, (sensor, minute) in (("pre", event.pre), ("post", event.post)):
        second = int(own.integers(60))
        sun = Sun(azimuth + own.uniform(-6, 6), elevation + own.uniform(-4, 4))
        catalog = CATALOG_PREFIX[sensor] + "".join(f"{digit:X}" for digit in own.integers(16, size=9))
        found[phase] = Capture(
            sensor, f"{minute}:{second:02d}.000Z", catalog, own.uniform(6, 27), own.uniform(0, 360), sun
        )
    del rng
    return found


def _photograph(
    rng: np.random.Generator, event: Event, place: Place, surface: Surface, captures: dict[str, Capture]
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8], Floats]:
    """Both images, the change mask on the pixels of post, and the opacity of cloud over post."""
    ground, sun = place.terrain.ground_m, captures["post"].sun
    pre_shadow = cast_shadow(place.objects_m, captures["pre"].sun)
    pre = place.albedo * sunlight(ground, place.objects_m, pre_shadow, captures["pre"].sun)
    post_shadow = cast_shadow(surface.objects_m, sun)
    post = surface.albedo * sunlight(ground, surface.objects_m, post_shadow, sun)
    if surface.changed.any():
        was_shadow = cast_shadow(place.objects_m, sun)
        change = np.maximum(surface.changed, SHADOW_CHANGE * np.abs(was_shadow - post_shadow))
    else:
        change = surface.changed
    veil = np.zeros_like(change)
    if surface.changed.any() and rng.random() < VEILED_SHARE:
        veil = ramp(noise(rng, 2, 5, 0.45), 0.7, 1.9) * 0.95
        post += veil[..., None] * ((182, 178, 172) if event.disaster_type in ("fire", "volcano") else (226, 228, 232) - post)
        change = np.maximum(change, veil)
    look = {phase: _look(rng, event, captures[phase].sensor, phase) for phase in captures}
    if rng.random() < SHIFTED_SHARE:
        offset = np.clip(rng.normal(0, 0.8, 2), -3, 3)
        post = move(post, (*offset, 0), order=1, mode="nearest")
        change, veil = (move(field, offset, order=1, mode="nearest") for field in (change, veil))
    images = {"pre": look["pre"].expose(pre, rng), "post": look["post"].expose(post, rng)}
    change_8bit = np.round(change * 255).astype(np.uint8)
    if rng.random() < WEDGE_SHARE:
        outside = _wedge(rng)
        for image in (*images.values(), change_8bit):
            image[outside] = 0
    return images, change_8bit, np.asarray(veil, np.float32)


def _wedge(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels beyond the slanted border of the satellite's strip."""
    rows, cols = np.mgrid[:SIZE_PX, :SIZE_PX]
    edge = cols + rng.uniform(-0.2, 0.2) * rows < rng.uniform(60, 260)
    return np.asarray(edge if rng.random() < 0.5 else edge[:, ::-1])


def _look(rng: np.random.Generator, event: Event, sensor: str, phase: str) -> Look:
    """The tone of an acquisition: pre has the event's, post differs from it by a few per cent."""
    _, blur, grain = SENSORS[sensor]
    own = np.random.default_rng([*event.name.encode(), phase == "post"])
    drift = own.normal(0, 0.02, 3) if phase == "post" else np.zeros(3)
    gain = np.asarray(event.tone_pre) * (1 + drift + rng.normal(0, 0.004, 3))
    haze = np.array([5.0, 7.0, 10.0]) + (own.normal(0, 1.5, 3) if phase == "post" else 0)
    return Look(gain.astype(np.float32), haze.astype(np.float32), blur, grain)


def _write_scene(folder: Path, scene: Scene) -> None:
    split = folder / scene.split
    for phase, image in scene.images.items():
        stem = f"{scene.stem}_{phase}_disaster"
        Image.fromarray(image).save(split / "images" / f"{stem}.png", compress_level=3)
        target = _target(scene, phase)
        Image.fromarray(target).save(split / "targets" / f"{stem}_target.png")
        (split / "labels" / f"{stem}.json").write_text(json.dumps(_label(scene, phase)))
    Image.fromarray(scene.change).save(split / "change" / f"{scene.stem}_change.png")


def _target(scene: Scene, phase: str) -> NDArray[np.uint8]:
    """The official raster: 0/1 before, 0 to 4 after; un-classified is 0 there."""
    target = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    for polygon, subtype in zip(scene.polygons, scene.subtypes, strict=True):
        damage = 0 if subtype == UNCLASSIFIED else SUBTYPES.index(subtype) + 1
        target[polygon_at(polygon)] = 1 if phase == "pre" else damage
    return target


def _label(scene: Scene, phase: str) -> dict[str, Any]:
    features: dict[str, list[dict[str, Any]]] = {"lng_lat": [], "xy": []}
    for polygon, subtype, uid in zip(scene.polygons, scene.subtypes, scene.uids, strict=True):
        properties = {"feature_type": "building"} | ({"subtype": subtype} if phase == "post" else {}) | {"uid": uid}
        lon, lat = scene.origin
        step = PIXEL_SIZE_M / METRES_PER_DEGREE
        degrees = polygon * (step / np.cos(np.radians(lat)), -step) + (lon, lat)
        features["lng_lat"].append({"properties": properties, "wkt": _wkt(degrees, 14)})
        features["xy"].append({"properties": properties, "wkt": _wkt(polygon, 9)})
    return {"features": features, "metadata": _metadata(scene, phase)}


def _wkt(corners: NDArray[np.float64], digits: int) -> str:
    return "POLYGON ((" + ", ".join(f"{x:.{digits}f} {y:.{digits}f}" for x, y in corners) + "))"


def _metadata(scene: Scene, phase: str) -> dict[str, str | float | int]:
    capture, name = scene.captures[phase], f"{scene.stem}_{phase}_disaster.png"
    # Looking aside lengthens the path: the ground sample grows with 1 / cos of the angle, squared along the view.
    gsd = SENSORS[capture.sensor][0] / np.cos(np.radians(capture.off_nadir)) ** 1.5
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
        "original_width": SIZE_PX,
        "original_height": SIZE_PX,
        "width": SIZE_PX,
        "height": SIZE_PX,
        "id": urlsafe_b64encode(uuid.uuid5(uuid.NAMESPACE_URL, name).bytes).decode().rstrip("="),
        "img_name": name,
    }
