"""The labels of a scene together: of these images, of one place, in pixels of what was delivered."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely

from data.errors import DataError
from data.sources.label_pair import check_sizes, read_labels, scene_georeference
from data.sources.release import SceneFiles
from tests.data.tiny_release import MICHAEL_0, ORIGIN, STEP, Shape, label, square

NAME = "hurricane-michael_00000000"
HOUSES = [square("a", "destroyed", 900, 30, 924, 48), square("b", "minor-damage", 30, 900, 54, 918)]
LARGER = 1025 / 1024
DELIVERED = {"width": 1024, "height": 1024}


def scene(pre: str = f"{NAME}_pre_disaster.png", **paths: Path | None) -> SceneFiles:
    known: dict[str, Any] = {"pre_label": Path("pre.json"), "post_label": Path("post.json")} | paths
    return SceneFiles(
        NAME, "hurricane-michael", "train", Path(pre), Path(pre.replace("pre", "post")), change=None, **known
    )


def stretched(shapes: Sequence[Shape], by: float) -> list[Shape]:
    return [(uid, subtype, [(x * by, y * by) for x, y in corners]) for uid, subtype, corners in shapes]


def on_larger(shapes: Sequence[Shape], phase: str) -> dict[str, Any]:
    """A label in pixels of 1025, of the same ground."""
    document, plain = label(stretched(shapes, LARGER), phase), label(shapes, phase)
    document["features"]["lng_lat"] = plain["features"]["lng_lat"]
    document["metadata"] |= DELIVERED | {"original_width": 1025, "original_height": 1025}
    return document


def read(documents: dict[str, dict[str, Any]], files: SceneFiles | None = None) -> dict[Any, Any]:
    contents = {Path(f"{phase}.json"): json.dumps(document).encode() for phase, document in documents.items()}
    return read_labels(files or scene(), contents)


def assert_on(found: Any, shapes: Sequence[Shape], west: float = ORIGIN[0]) -> None:
    for building, (_, _, corners) in zip(found.buildings, shapes, strict=True):
        assert shapely.hausdorff_distance(building.polygon, shapely.Polygon(corners)) < 1e-6
    for x, y, lon, lat in found.control_points:
        assert (x, y) == pytest.approx(((lon - west) / STEP[0], (lat - ORIGIN[1]) / STEP[1]), abs=1e-5)


def test_polygons_of_1025_px_come_down_to_1024() -> None:
    pre = label(HOUSES, "pre")
    pre["metadata"] |= DELIVERED | {"original_width": 1024, "original_height": 1024}
    assert_on(read({"pre": pre, "post": on_larger(HOUSES, "post")})["post"], HOUSES)


def test_also_without_a_pre_label() -> None:
    found = read({"post": on_larger(HOUSES, "post")}, scene(pre_label=None))
    assert_on(found["post"], HOUSES)


def test_what_lies_on_pre_already_stays() -> None:
    """The size before may be noted by whoever has brought the polygons down."""
    post = label(HOUSES, "post")
    post["metadata"] |= DELIVERED | {"original_width": 1025, "original_height": 1025}
    assert_on(read({"pre": label(HOUSES, "pre"), "post": post})["post"], HOUSES)


def test_a_size_before_of_quite_another_image_tells_nothing() -> None:
    post = label(HOUSES, "post")
    post["metadata"] |= DELIVERED | {"original_width": 2048, "original_height": 2048}
    assert_on(read({"post": post}, scene(pre_label=None))["post"], HOUSES)


@pytest.mark.parametrize("other", ["hurricane-michael_00000001_post", "palu-tsunami_00000000_post", f"{NAME}_pre"])
def test_the_label_of_another_image_is_refused(other: str) -> None:
    post = label(HOUSES, "post")
    post["metadata"]["img_name"] = f"{other}_disaster.png"
    with pytest.raises(
        DataError, match=rf"post.json: metadata.img_name is {other}_disaster.png, .*its image is {NAME}_post"
    ):
        read({"pre": label(HOUSES, "pre"), "post": post})


@pytest.mark.parametrize("name", [f"{NAME}_post_disaster.png", f"{NAME}_post_disaster.tif", "image.png", None])
def test_its_own_name_another_format_or_no_name_of_xbd_are_fine(name: str | None) -> None:
    post = label(HOUSES, "post")
    post["metadata"]["img_name"] = name
    assert set(read({"pre": label(HOUSES, "pre"), "post": post})) == {"pre", "post"}
    post["metadata"]["img_name"] = "hurricane-michael_00000007_post_disaster.png"
    assert set(read({"pre": label(HOUSES, "pre"), "post": post}, scene("my_pre.tif"))) == {"pre", "post"}


def test_a_post_label_of_other_buildings_elsewhere_is_refused() -> None:
    others = [square("x", "destroyed", 300, 300, 320, 320)]
    with pytest.raises(DataError, match=r"post.json: no building of it is in the pre label"):
        read({"pre": label(HOUSES, "pre"), "post": label(others, "post")})
    drawn_anew = [("new", "destroyed", HOUSES[0][2])]
    assert len(read({"pre": label(HOUSES, "pre"), "post": label(drawn_anew, "post")})["post"].buildings) == 1


def test_a_post_label_of_another_place_is_refused() -> None:
    """The same names of buildings, 0.001 degrees further east: 200 px."""
    post = label(HOUSES, "post", origin=(ORIGIN[0] + 0.001, ORIGIN[1]))
    with pytest.raises(
        DataError, match=r"post.json: its lng_lat places the scene 200 px from where the pre label does"
    ):
        read({"pre": label(HOUSES, "pre"), "post": post})
    near = label(HOUSES, "post", origin=(ORIGIN[0] + 0.0001, ORIGIN[1]))
    assert_on(read({"pre": label(HOUSES, "pre"), "post": near})["post"], HOUSES, ORIGIN[0] + 0.0001)


def test_a_label_of_another_size_is_refused() -> None:
    pre = label(MICHAEL_0, "pre")
    pre["metadata"] |= DELIVERED
    labels = read({"pre": pre}, scene(post_label=None))
    check_sizes(scene(), labels, 1024, 1024)
    with pytest.raises(DataError, match=r"pre.json: labels an image of 1024 x 1024 px, but the image has 512 x 512 px"):
        check_sizes(scene(), labels, 512, 512)


def test_a_place_without_fault_is_taken_whichever_label_tells_it() -> None:
    pre, post = label(HOUSES, "pre"), label(HOUSES, "post")
    for feature in pre["features"]["lng_lat"]:
        feature["wkt"] = shapely.transform(shapely.from_wkt(feature["wkt"]), lambda xy: xy[:, ::-1]).wkt
    labels = read({"pre": pre, "post": post})
    fit = scene_georeference(labels)
    assert fit is not None and fit.fault == "" and fit.affine.c == pytest.approx(ORIGIN[0])
    swapped = scene_georeference({"pre": replace(labels["pre"])})
    assert swapped is not None and "mirrored" in swapped.fault
