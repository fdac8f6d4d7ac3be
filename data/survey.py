"""The first look at all labels: what scenes without a place or a disaster type of their own take from their event."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.errors import DataError
from data.events import describe_event
from data.geo import MAX_RESIDUAL_PX, UNKNOWN, Georeference, Location, fit_georeference, mean_location, pixel_size_m
from data.labels import Label, Phase, parse_label
from data.release import SceneFiles


@dataclass(frozen=True)
class SceneSurvey:
    """What one scene tells of its event."""

    event: str
    location: Location | None
    disaster_type: str | None


@dataclass(frozen=True)
class EventSurvey:
    """What all scenes of an event tell together."""

    location: Location = UNKNOWN
    disaster_type: str = ""


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
        return SceneSurvey(scene.event, None, None)
    disaster_type = next((label.disaster_type for label in labels.values() if label.disaster_type), None)
    fit, location = scene_georeference(labels), None
    if fit is not None and fit.residual_px <= MAX_RESIDUAL_PX:
        points = next(label.control_points for label in labels.values() if len(label.control_points))
        lon, lat = points[:, 2:].mean(axis=0)
        location = Location("tile", float(lon), float(lat), pixel_size_m(fit.affine, lat), fit.affine)
    return SceneSurvey(scene.event, location, disaster_type)


def survey_events(surveys: Iterable[SceneSurvey]) -> dict[str, EventSurvey]:
    """Gather the scenes' answers per event; the table of known events fills a disaster type that no label gives."""
    by_event: dict[str, list[SceneSurvey]] = defaultdict(list)
    for survey in surveys:
        by_event[survey.event].append(survey)
    return {event: _survey_event(event, members) for event, members in by_event.items()}


def _survey_event(event: str, members: list[SceneSurvey]) -> EventSurvey:
    told = next((member.disaster_type for member in members if member.disaster_type), "")
    location = mean_location([member.location for member in members if member.location])
    return EventSurvey(location, told or describe_event(event, "").disaster_type)
