"""The first look at all labels: what scenes without a place or a disaster type of their own take from their event."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from shapely import Polygon
from tqdm import tqdm

from data.errors import DataError
from data.events import describe_event
from data.footprints import Overlap, footprint, overlaps
from data.geo import MAX_RESIDUAL_PX, UNKNOWN, Georeference, Location, fit_georeference, mean_location, pixel_size_m
from data.labels import Label, Phase, parse_label
from data.parallel import WorkerPool
from data.release import SceneFiles


@dataclass(frozen=True)
class SceneSurvey:
    """What one scene tells of its event, and where it lies itself."""

    location: Location | None
    disaster_type: str | None
    footprint: Polygon | None = None  # degrees; None if nothing tells the scene's place


@dataclass(frozen=True)
class EventSurvey:
    """What all scenes of an event tell together."""

    location: Location = UNKNOWN
    disaster_type: str = ""


@dataclass(frozen=True)
class Survey:
    """What the labels of a whole release tell before anything is built."""

    events: dict[str, EventSurvey]
    footprints: dict[str, Polygon]  # of the scenes whose place is known, degrees
    overlaps: list[Overlap]  # scenes that share ground


def read_labels(scene: SceneFiles, contents: dict[Path, bytes]) -> dict[Phase, Label]:
    """Parse the label files that the scene has."""
    paths: dict[Phase, Path | None] = {"pre": scene.pre_label, "post": scene.post_label}
    return {phase: parse_label(contents[path], path, phase) for phase, path in paths.items() if path}


def scene_georeference(labels: dict[Phase, Label]) -> Georeference | None:
    """The fit of the pre label, else of the post label: both images share one grid to about a pixel."""
    fits = (fit_georeference(labels[phase].control_points) for phase in ("pre", "post") if phase in labels)
    return next((fit for fit in fits if fit is not None), None)


def survey_scene(scene: SceneFiles) -> SceneSurvey:
    """Read a scene's labels; one that cannot be read tells nothing here and is quarantined when it is built."""
    try:
        labels = read_labels(scene, {path: path.read_bytes() for path in scene.files() if path.suffix == ".json"})
    except (DataError, OSError):
        return SceneSurvey(None, None)
    disaster_type = next((label.disaster_type for label in labels.values() if label.disaster_type), None)
    fit, location, ground = scene_georeference(labels), None, None
    if fit is not None and fit.residual_px <= MAX_RESIDUAL_PX:
        points = next(label.control_points for label in labels.values() if len(label.control_points))
        lon, lat = points[:, 2:].mean(axis=0)
        location = Location("tile", float(lon), float(lat), pixel_size_m(fit.affine, lat), fit.affine)
        size = image_size(scene.pre_image)
        ground = footprint(fit.affine, *size) if size else None
    return SceneSurvey(location, disaster_type, ground)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height from the header alone; None if it cannot be read, for which the scene is quarantined later."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def survey(scenes: Sequence[SceneFiles], pool: WorkerPool) -> Survey:
    """Read all labels; the table of known events fills a disaster type that no label gives."""
    answers = tqdm(pool.map(survey_scene, scenes), "reading labels", len(scenes), unit="scene")
    by_event: dict[str, list[SceneSurvey]] = defaultdict(list)
    footprints: dict[str, Polygon] = {}
    for scene, answer in zip(scenes, answers, strict=True):
        by_event[scene.event].append(answer)
        if answer.footprint is not None:
            footprints[scene.scene_id] = answer.footprint
    events = {event: _survey_event(event, members) for event, members in by_event.items()}
    return Survey(events, footprints, overlaps(footprints))


def _survey_event(event: str, members: list[SceneSurvey]) -> EventSurvey:
    told = next((member.disaster_type for member in members if member.disaster_type), "")
    location = mean_location([member.location for member in members if member.location])
    return EventSurvey(location, told or describe_event(event, "").disaster_type)
