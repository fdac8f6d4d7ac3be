"""The buildings of a scene from a vector file that covers it: footprints, with or without their damage."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely import MultiPolygon, Polygon

from data.errors import DataError, shortened
from data.imagery.grids import Grid, grid_of
from data.imagery.raster import opened
from data.schema import DAMAGE_VALUES, SENSOR
from data.sources.labels import Building, Label, Phase, polygonal
from data.sources.release import SceneFiles, VectorFile
from data.sources.scene_images import scene_grid
from data.sources.vector_file import Features, check_meets, features_on
from data.strict_json import as_json

UNSEEN = "un-classified"
_NUMBERED = {str(number): name for name, number in DAMAGE_VALUES.items()}


@dataclass(frozen=True)
class Outlines:
    """The outlines among some features that reach into a frame, and what became of the others."""

    kept: list[tuple[int, Polygon | MultiPolygon]]  # position among the features, valid polygon
    repaired: int  # of those kept
    dropped: int  # broken, or without any area
    other: int  # points and lines


def read_vectors(scene: SceneFiles, file: VectorFile) -> dict[Phase, Label]:
    """The buildings that reach into a scene, or into its part of a large raster, in its pixels.

    Returns:
        a post label if the file says the damage, else a pre label.

    Raises:
        DataError: see `features_on`; or a value of damage has no meaning, or there are no outlines.
    """
    with opened(scene.pre_image) as pre:
        whole = grid_of(pre, scene.pre_image)
    check_meets(file.path, whole, scene.pre_image.name)
    found = features_on(file.path, scene_grid(scene, whole), file.damage_column)
    lines = outlines(file.path, found, _frame(scene, whole))
    buildings = [
        Building(
            uid=f"{file.path.stem}:{found.numbers[i]}",
            subtype=None if found.values is None else _subtype(found.values[i], file, int(found.numbers[i])),
            polygon=polygon,
            lng_lat=None,
        )
        for i, polygon in lines.kept
    ]
    label = Label(
        buildings=tuple(buildings),
        control_points=np.empty((0, 4)),
        sensor=dict.fromkeys(SENSOR),
        capture_date=scene.post_date if file.damage_column else scene.pre_date,
        disaster_type=None,
        image_name=None,
        size_px=None,
        original_px=None,
        repaired=lines.repaired,
        dropped=lines.dropped,
        other=lines.other,
    )
    return {"post" if file.damage_column else "pre": label}


def outlines(path: Path, found: Features, frame: Polygon) -> Outlines:
    """The polygons that reach into a frame, repaired where they cross themselves.

    Raises:
        DataError: there is nothing but points and lines.
    """
    kept: list[tuple[int, Polygon | MultiPolygon]] = []
    repaired = dropped = other = 0
    for i, raw in enumerate(found.shapes):
        if raw is None or raw.is_empty or not np.isfinite(raw.bounds).all():
            dropped += 1
        elif shapely.get_dimensions(raw) < 2:
            other += 1
        elif (valid := polygonal(raw if raw.is_valid else shapely.make_valid(raw))).is_empty:
            dropped += 1
        elif valid.intersects(frame) and not valid.touches(frame):
            kept.append((i, valid))
            repaired += not raw.is_valid
    if other and not kept:
        raise DataError(f"{path}: holds points or lines here, expected polygons: the outlines of buildings.")
    return Outlines(kept, repaired, dropped, other)


def _subtype(value: object, file: VectorFile, number: int) -> str:
    """What a cell of the damage column means; an empty one means that nobody has looked."""
    if value is None or value != value:  # NaN
        return UNSEEN
    whole_number = isinstance(value, float | np.floating) and value == int(value)
    word = str(int(value) if whole_number else value).strip()  # type: ignore[call-overload]
    name = dict(file.meanings).get(word.lower(), word.lower().replace("_", "-").replace(" ", "-"))
    name = _NUMBERED.get(name, name)
    if name not in DAMAGE_VALUES:
        example = as_json({word[:40]: "major-damage"}, None).rstrip()
        raise DataError(
            f"{file.path}: {file.damage_column} of feature {number} is {shortened(word)}, expected one of "
            f"{', '.join(DAMAGE_VALUES)}, or 1 to 4 and 255. Say in the manifest what it means: "
            f'"damage_values": {example}.'
        )
    return name


def _frame(scene: SceneFiles, whole: Grid) -> Polygon:
    """The whole image in pixels of the scene: a building that only touches its edge is not in it."""
    left, top = (-scene.part.col, -scene.part.row) if scene.part else (0, 0)
    return shapely.box(left, top, left + whole.width, top + whole.height)
