"""A first pass over all labels: the place and disaster type that scenes without their own take from their event."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from shapely import Polygon

from data.errors import DataError
from data.files import read_file
from data.imagery.geo import UNKNOWN, Location, mean_location, pixel_size_m
from data.progress import Bar
from data.sources.events import describe_event
from data.sources.footprints import Overlap, footprint, overlaps
from data.sources.label_pair import read_labels, scene_georeference
from data.sources.release import SceneFiles
from data.sources.scene_images import scene_place
from data.workers import WorkerPool


@dataclass(frozen=True)
class SceneSurvey:
    """What one scene contributes to its event, and its own location."""

    location: Location | None
    disaster_type: str | None
    footprint: Polygon | None = None  # degrees; None if the scene has no location


@dataclass(frozen=True)
class EventSurvey:
    """What is known from all scenes of an event."""

    location: Location = UNKNOWN
    disaster_type: str = ""


@dataclass(frozen=True)
class Survey:
    """What the labels of a whole release say before anything is built."""

    events: dict[str, EventSurvey]
    footprints: dict[str, Polygon]  # of the scenes whose place is known, degrees
    overlaps: list[Overlap]  # scenes that share ground


def survey_scene(scene: SceneFiles) -> SceneSurvey:
    """Read a scene's labels; an unreadable one is ignored here and quarantined when it is built."""
    try:
        # A vector file says nothing of its event, and its place is that of the image.
        contents = {path: read_file(path) for path in scene.label_files()}
        labels = {} if scene.vectors else read_labels(scene, contents)
        location, width, height = scene_place(scene)
    except DataError:
        return SceneSurvey(None, None)
    types = (scene.disaster_type, *(label.disaster_type for label in labels.values()))
    disaster_type = next((word for word in types if word), None)
    fit = scene_georeference(labels)
    if fit is not None and not fit.fault:
        points = next(label.control_points for label in labels.values() if len(label.control_points))
        lon, lat = points[:, 2:].mean(axis=0)
        location = Location("tile", float(lon), float(lat), pixel_size_m(fit.affine, lat), fit.affine)
    ground = footprint(location.affine, width, height, location.crs_wkt) if location and location.affine else None
    return SceneSurvey(location, disaster_type, ground)


def survey(scenes: Sequence[SceneFiles], pool: WorkerPool) -> Survey:
    """Read all labels; the table of known events supplies a disaster type that no label has."""
    answers = Bar(pool.map(survey_scene, scenes), "reading labels", len(scenes), unit="scene")
    by_event: dict[str, list[SceneSurvey]] = defaultdict(list)
    footprints: dict[str, Polygon] = {}
    for scene, answer in zip(scenes, answers, strict=True):
        by_event[scene.event].append(answer)
        if answer.footprint is not None:
            footprints[scene.scene_id] = answer.footprint
    events = {event: _survey_event(event, members) for event, members in by_event.items()}
    return Survey(events, footprints, overlaps(footprints))


def _survey_event(event: str, members: list[SceneSurvey]) -> EventSurvey:
    stated = next((member.disaster_type for member in members if member.disaster_type), "")
    location = mean_location([member.location for member in members if member.location])
    return EventSurvey(location, stated or describe_event(event, "").disaster_type)
