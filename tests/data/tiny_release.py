"""A tiny xView2 release whose every number can be checked by hand.

Scenes are 64 x 64 px; in patches of 32 px the corners are (row, col) = (0, 0), (0, 32), (32, 0), (32, 32).

hurricane-michael_00000000  train  both labels: a destroyed and an intact house overlap at (0, 0), an un-classified one
                                   at (0, 32), a minor one reaches from (32, 0) into (32, 32), where its centroid is
hurricane-michael_00000001  train  both labels, no buildings
hurricane-michael_00000002  test   no labels
testville-flood_00000000    hold   both labels: a bow tie (invalid), and a destroyed house past the corner of the scene
testville-flood_00000001    tier3  post label only: one intact house at (0, 0)
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE_PX = 64
# Pixels to degrees: 5e-6 degrees a pixel eastward, 4e-6 southward, at 10 E 50 N or as write_scene is given.
ORIGIN, STEP = (10.0, 50.0), (5e-6, -4e-6)
Degrees = tuple[float, float]
SCENE_IDS = [
    "hurricane-michael_00000000",
    "hurricane-michael_00000001",
    "hurricane-michael_00000002",
    "testville-flood_00000000",
    "testville-flood_00000001",
]
Shape = tuple[str, str, Sequence[tuple[float, float]]]  # uid, subtype, corners


def square(uid: str, subtype: str, left: float, top: float, right: float, bottom: float) -> Shape:
    """A house with upright walls."""
    return uid, subtype, [(left, top), (right, top), (right, bottom), (left, bottom)]


MICHAEL_0 = [
    square("a", "destroyed", 2, 2, 6, 6),
    square("b", "no-damage", 4, 4, 8, 8),
    square("c", "un-classified", 40, 2, 44, 6),
    square("d", "minor-damage", 28, 50, 40, 54),
]
TESTVILLE_0 = [
    ("bow-tie", "major-damage", [(10, 10), (20, 20), (20, 10), (10, 20)]),
    square("corner", "destroyed", 60, 60, 70, 70),
]
TESTVILLE_1 = [square("e", "no-damage", 4, 4, 12, 12)]


def wkt(corners: Sequence[tuple[float, float]]) -> str:
    """A closed POLYGON."""
    return "POLYGON ((" + ", ".join(f"{x!r} {y!r}" for x, y in [*corners, corners[0]]) + "))"


def label(shapes: Sequence[Shape], phase: str, disaster_type: str = "wind", origin: Degrees = ORIGIN) -> dict[str, Any]:
    """An xBD label document."""
    xy, lng_lat = [], []
    for uid, subtype, corners in shapes:
        properties = {"feature_type": "building", "uid": uid} | ({"subtype": subtype} if phase == "post" else {})
        degrees = [(origin[0] + STEP[0] * x, origin[1] + STEP[1] * y) for x, y in corners]
        xy.append({"properties": properties, "wkt": wkt(corners)})
        lng_lat.append({"properties": properties, "wkt": wkt(degrees)})
    metadata = {
        "sensor": "GEOEYE01",
        "catalog_id": "1050",
        "gsd": 2.0,
        "pan_resolution": 0.5,
        "capture_date": {"pre": "2017-10-05T16:51:27.000Z", "post": "2018-10-13T16:48:15.000Z"}[phase],
        "off_nadir_angle": 20.0,
        "sun_azimuth": 150.0,
        "sun_elevation": 45.0,
        "target_azimuth": 90.0,
        "disaster_type": disaster_type,
    }
    return {"features": {"lng_lat": lng_lat, "xy": xy}, "metadata": metadata}


def write_scene(
    folder: Path,
    scene_id: str,
    shapes: Sequence[Shape],
    phases: Sequence[str],
    disaster_type: str = "wind",
    origin: Degrees = ORIGIN,
) -> None:
    """Images of noise (with xBD's tRNS chunk), and the labels of `phases`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    rng = np.random.default_rng(sum(scene_id.encode()))
    for phase in ("pre", "post"):
        pixels = rng.integers(1, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{scene_id}_{phase}_disaster.png", transparency=(0, 0, 0))
    for phase in phases:
        text = json.dumps(label(shapes, phase, disaster_type, origin))
        (folder / "labels" / f"{scene_id}_{phase}_disaster.json").write_text(text)


def write_release(root: Path) -> Path:
    """The release of this module's docstring."""
    both = ("pre", "post")
    write_scene(root / "train", SCENE_IDS[0], MICHAEL_0, both)
    write_scene(root / "train", SCENE_IDS[1], [], both)
    write_scene(root / "test", SCENE_IDS[2], [], ())
    write_scene(root / "hold", SCENE_IDS[3], TESTVILLE_0, both, "flooding", (20.0, 50.0))
    write_scene(root / "tier3", SCENE_IDS[4], TESTVILLE_1, ("post",), "flooding", (20.01, 50.0))
    return root
