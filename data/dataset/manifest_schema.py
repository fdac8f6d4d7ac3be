"""What a dataset.json must contain to be read: what every reader needs, and what the report shows as well."""

# ruff: noqa: UP013  # a score of small shapes, one a line
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import Count, Finite
from data.options import SplitBy
from data.schema import FEATURES

Shard = TypedDict("Shard", {"split": str, "file": Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$")]})
Settings = TypedDict(
    "Settings",
    {
        "source": str,
        "size": int,
        "seed": int,
        "split_by": SplitBy,
        "moderate_from": NotRequired[Finite],
        "severe_from": NotRequired[Finite],
    },
)
Buildings = TypedDict("Buildings", {name: Count for name in FEATURES["counts"]})  # type: ignore[misc]
Counts = TypedDict("Counts", {"scenes": Count, "patches": Count, "labelled_patches": Count, "buildings": Buildings})
Event = TypedDict("Event", {"splits": Annotated[dict[str, Counts], Field(min_length=1)]})
Rejected = TypedDict("Rejected", {"scene_id": str, "reason": str})
Remark = TypedDict("Remark", {"scene_id": str, "remark": str})
LeftOut = TypedDict("LeftOut", {"patch_id": str, "reason": str})
Twin = TypedDict("Twin", {"patch_id": str, "split": str, "looks_like": str, "its_split": str})
Twins = TypedDict("Twins", {"patches": Count, "listed": list[Twin]})
Shared = TypedDict("Shared", {"scene_id": str, "split": str, "overlaps": str, "its_split": str, "share": Finite})
SharedGround = TypedDict("SharedGround", {"pairs": Count, "listed": list[Shared]})
Moved = TypedDict("Moved", {"scenes_moved": Count})
Places = TypedDict("Places", {"not_used": list[str]})
Polygons = TypedDict("Polygons", {"repaired": Count, "dropped": Count, "no_building": NotRequired[Count]})
Line = TypedDict("Line", {"id": str, "line": Count, "why": NotRequired[str]})


class Format(TypedDict, total=False):
    """For recognising the file."""

    format: Any
    format_version: Any


class Manifest(Format):
    """For opening a split."""

    fingerprint: str
    splits: dict[str, Any]
    events: dict[str, Any]
    shards: list[Shard]


class Leaks(TypedDict):
    """As data/quality/leaks.py reports them."""

    scenes_with_footprint: Count
    scenes_without_footprint: Count
    overlapping_pairs: Count
    footprints_across_splits: SharedGround
    pictures_across_splits: Twins


class CaptionsFile(TypedDict):
    """As data/captions/file.py reports it."""

    file: str
    lines: Count
    joined: Count
    unmatched: list[Line]
    too_long: list[Line]
    not_for_mirrored_views: list[Line]
    damage_before: list[Line]
    other_disaster: NotRequired[list[Line]]
    contradictions: NotRequired[list[Line]]


class Described(Manifest):
    """For the report; what not every version has written may be missing."""

    pre2post_version: str
    build: Settings
    splits: Annotated[dict[str, Counts], Field(min_length=1)]  # type: ignore[misc]  # narrower
    events: Annotated[dict[str, Event], Field(min_length=1)]  # type: ignore[misc]
    scenes_without_labels: list[str]
    scenes_with_one_label: list[str]
    location_sources: dict[str, Count]
    georeference: Places
    polygons: Polygons
    margin_buildings: Count
    registration: Moved
    near_duplicates: Twins
    leaks: Leaks
    left_out: list[LeftOut]
    quarantine: list[Rejected]
    unrecognised_files: list[str]
    remarks: NotRequired[list[Remark]]
    scenes_in_two_splits: NotRequired[list[str]]
    captions_file: NotRequired[CaptionsFile | None]


FORMAT_FIELDS, MANIFEST, DESCRIBED = TypeAdapter(Format), TypeAdapter(Manifest), TypeAdapter(Described)
