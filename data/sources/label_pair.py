"""The labels of a scene: read together, on one grid of pixels, and checked against each other and their images."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from data.errors import DataError
from data.imagery.geo import Georeference, fit_georeference
from data.sources.labels import Label, Phase, label_part, parse_label
from data.sources.release import IMAGE_NAME, SceneFiles
from data.sources.vector_label import read_vectors

# xBD resized images of 1025 px to 1024 and left the polygons in the original pixels. Sizes that differ by more have
# another reason, and the pixel grid of the polygons is unknown.
_LARGEST_STRETCH = 1.01
# The two labels of an xBD scene agree to 0.03 px; 100 px is not a surveying error, but another place.
_LARGEST_GAP_PX = 100


def read_labels(scene: SceneFiles, contents: Mapping[Path, bytes]) -> dict[Phase, Label]:
    """Parse the label files that the scene has, or read its vector file: polygons in pixels of the scene.

    Raises:
        DataError: a file is broken, belongs to another image, or is later than the other one.
    """
    if scene.vectors:
        return read_vectors(scene, scene.vectors)
    paths: dict[Phase, Path | None] = {"pre": scene.pre_label, "post": scene.post_label}
    labels = _parse(tuple((phase, path, contents[path]) for phase, path in paths.items() if path))
    for phase, label in labels.items():
        image = scene.pre_image if phase == "pre" else scene.post_image
        _check_image(label, paths[phase], phase, image)
    days = [labels[phase].capture_date for phase in ("pre", "post") if phase in labels]
    if len(days) == 2 and days[0] and days[1] and days[1] < days[0]:
        raise DataError(
            f"{scene.post_label}: metadata.capture_date is {days[1]}, before that of the pre label ({days[0]}). "
            "Are pre and post swapped?"
        )
    if len(labels) == 2 and _strangers(labels["pre"], labels["post"]):
        raise DataError(
            f"{scene.post_label}: no building of it is in the pre label, neither by uid nor by place. Is it the label "
            "of another scene? Give each image its own."
        )
    if len(labels) == 2 and (gap := _gap_px(labels["pre"], labels["post"])) > _LARGEST_GAP_PX:
        raise DataError(
            f"{scene.post_label}: its lng_lat places the scene {gap:,.0f} px from where the pre label does. Is it the "
            "label of another scene? Give each image its own."
        )
    return {phase: label_part(label, scene.part) for phase, label in labels.items()} if scene.part else labels


def scene_georeference(labels: Mapping[Phase, Label]) -> Georeference | None:
    """The fit of the pre label, else of the post label; one with a fault only where there is no other."""
    fits = [fit_georeference(labels[phase].control_points) for phase in ("pre", "post") if phase in labels]
    found = sorted((fit for fit in fits if fit is not None), key=lambda fit: bool(fit.fault))
    return found[0] if found else None


def check_sizes(scene: SceneFiles, labels: Mapping[Phase, Label], width: int, height: int) -> None:
    """Stop on a label of an image of another size than `width` x `height` px, the whole pre image."""
    for phase, label in labels.items():
        if label.size_px and label.size_px != (width, height):
            path = scene.pre_label if phase == "pre" else scene.post_label
            wide, high = label.size_px
            raise DataError(
                f"{path}: labels an image of {wide:g} x {high:g} px, but the image has {width} x {height} px. Whether "
                "it was cropped or downsampled cannot be determined: give the image that was labelled (--size cuts the "
                "patches), or convert xy, metadata.width and metadata.height to the image you have."
            )


# A worker builds many parts of one large raster, one after the other.
@lru_cache(maxsize=2)
def _parse(files: tuple[tuple[Phase, Path, bytes], ...]) -> dict[Phase, Label]:
    labels: dict[Phase, Label] = {}
    for phase, path, content in files:
        labels[phase] = _delivered(parse_label(content, path, phase), labels.get("pre"))
    return labels


def _delivered(label: Label, pre: Label | None) -> Label:
    """The label with polygons in pixels of the delivered image, not of the original that xBD resized.

    Where both labels are georeferenced, comparing the two maps shows which pixels those are.
    """
    size, original = label.size_px, label.original_px
    if not size or not original or size == original:
        return label
    if pre and (found := _onto(pre, label)) is not None:
        onto = found
    elif max(max(a / b, b / a) for a, b in zip(size, original, strict=True)) <= _LARGEST_STRETCH:
        onto = np.diag([size[0] / original[0], size[1] / original[1], 1])
    else:
        return label
    linear, offset = onto[:2, :2].T, onto[:2, 2]
    moved = [
        replace(building, polygon=shapely.transform(building.polygon, lambda xy: xy @ linear + offset))
        for building in label.buildings
    ]
    pixels, degrees = np.hsplit(label.control_points, 2)
    points = np.hstack([pixels @ linear + offset, degrees])
    return replace(label, buildings=tuple(moved), control_points=points)


def _check_image(label: Label, path: Path | None, phase: Phase, image: Path) -> None:
    """Stop if the label names an image of another scene or phase; names in other formats are ignored."""
    own = IMAGE_NAME.fullmatch(image.name)
    named = IMAGE_NAME.fullmatch(f"{Path(label.image_name).stem}.png") if label.image_name else None
    if own and named and (named["scene_id"], named["phase"]) != (own["scene_id"], phase):
        raise DataError(
            f"{path}: metadata.img_name is {label.image_name}, but its image is {image.name}. Is it the label of "
            "another image? Give each image its own."
        )


def _onto(pre: Label, post: Label) -> NDArray[np.float64] | None:
    """(3, 3): pixels of the post label to the pixels of pre on the same ground; None if either has no location."""
    fits = [fit for label in (pre, post) if (fit := fit_georeference(label.control_points)) and not fit.fault]
    if len(fits) < 2:
        return None
    of_pre, of_post = (np.reshape(fit.affine, (3, 3)) for fit in fits)
    return np.asarray(np.linalg.solve(of_pre, of_post), np.float64)


def _gap_px(pre: Label, post: Label) -> float:
    """Minimum distance between the positions of the same pixels by both labels; 0 if either has no location."""
    if (onto := _onto(pre, post)) is None:
        return 0.0
    pixels = post.control_points[:, :2]
    moved = pixels @ onto[:2, :2].T + onto[:2, 2]
    return float(np.linalg.norm(moved - pixels, axis=1).min())


def _strangers(pre: Label, post: Label) -> bool:
    """Whether both have buildings, and not one in common."""
    if not pre.buildings or not post.buildings:
        return False
    if {building.uid for building in pre.buildings} & {building.uid for building in post.buildings}:
        return False
    tree = shapely.STRtree([building.polygon for building in pre.buildings])
    return not tree.query([building.polygon for building in post.buildings], predicate="intersects").size
