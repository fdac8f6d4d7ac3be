"""`dataset.json`: what a built dataset was made from, what is in it, and what was left out and why."""

import hashlib
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.dataset.pieces import Piece
from data.dataset.rows import SceneResult
from data.dataset.splits import SPLITS
from data.quality.leaks import leak_report
from data.quality.look_alikes import SamePicture
from data.quality.summary import QualityTally
from data.schema import FEATURES
from data.sources.release import Release
from data.sources.survey import Survey
from data.strict_json import as_json

FORMAT = "pre2post-dataset"
FORMAT_VERSION = 2  # 1: `change_mask` of simulated data counts cloud as change, there is no `cover_mask`
FILE_NAME = "dataset.json"

CLASSES = tuple(FEATURES["counts"])


class Tally:
    """Adds up the scenes of a build."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.events: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, list[str]] = {"both": [], "post": [], "pre": [], "mask": [], "none": []}
        self.quarantine: list[dict[str, str]] = []
        self.location_sources = {"tile": 0, "raster": 0, "event": 0, "unknown": 0}
        self.places_not_used: list[str] = []
        self.residuals: dict[str, float] = {}  # of the scenes whose georeference is used
        self.digests: dict[str, str] = {}
        self.margin = 0
        self.polygons = {"repaired": 0, "dropped": 0, "no_building": 0}
        self.left_out: list[dict[str, str]] = []
        self.remarks: dict[tuple[str, str], None] = {}  # (scene id, remark); parts of one raster say the same once
        self.quality = QualityTally()
        self.splits: dict[str, str] = {}  # of every scene that has a patch

    def reject(self, scene_id: str, reason: str) -> None:
        """Record a scene that is not in the dataset."""
        self.quarantine.append({"scene_id": scene_id, "reason": reason})

    def add(self, piece: Piece, result: SceneResult) -> None:
        """Add a scene of a piece, or its quarantine."""
        self.digests |= result.digests
        scene = result.scene
        if result.quarantine:
            self.reject(scene.scene_id, result.quarantine)
            return
        self.remarks |= dict.fromkeys((scene.whole_id, remark) for remark in result.remarks)
        self.left_out += [{"patch_id": patch_id, "reason": reason} for patch_id, reason in result.left_out]
        if not result.rows:
            return
        self.splits[scene.scene_id] = piece.split
        self.labels[scene.labels].append(scene.scene_id)
        self.location_sources[result.rows[0]["location_source"]] += 1
        self.margin += result.margin_buildings
        self.polygons["repaired"] += result.repaired_polygons
        self.polygons["dropped"] += result.dropped_polygons
        self.polygons["no_building"] += result.other_polygons
        if result.place_fault:
            self.places_not_used.append(f"{scene.scene_id} ({result.place_fault})")
        elif result.residual_px is not None:
            self.residuals[scene.scene_id] = result.residual_px
        entry = self.events.setdefault(scene.event, {"disaster_type": result.rows[0]["disaster_type"], "splits": {}})
        part = entry["splits"].setdefault(piece.split, _no_counts())
        part["scenes"] += 1
        for row in result.rows:
            self._add_row(part, row)
            self.quality.add(piece.split, piece.file, row)

    def _add_row(self, part: dict[str, Any], row: dict[str, Any]) -> None:
        part["patches"] += 1
        part["labelled_patches"] += row["counts"]["destroyed"] is not None  # a mask alone counts no buildings
        for name, number in row["counts"].items():
            part["buildings"][name] += number or 0

    def per_split(self) -> dict[str, dict[str, Any]]:
        """The events' counts added up per split."""
        events = [entry["splits"] for entry in self.events.values()]
        by_split = {split: [parts[split] for parts in events if split in parts] for split in SPLITS}
        return {split: added_up(parts) for split, parts in by_split.items() if parts}


def describe(
    tally: Tally, settings: dict[str, Any], shards: list[dict[str, Any]], release: Release, seen: Survey, folder: Path
) -> dict[str, Any]:
    """The content of dataset.json for the shards in `folder`.

    No dates and no output path: the same source gives the same bytes.
    """
    same = SamePicture(folder, seen.footprints, seen.overlaps)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "pre2post_version": version("pre2post"),
        "fingerprint": _combine({shard["file"]: shard["sha256"] for shard in shards}),
        "source_fingerprint": _combine(tally.digests),
        "build": settings,
        "splits": tally.per_split(),
        "events": dict(sorted(tally.events.items())),
        "labels": {kind: len(scenes) for kind, scenes in tally.labels.items()},
        "scenes_without_labels": sorted(tally.labels["none"]),
        "scenes_with_one_label": sorted(tally.labels["pre"] + tally.labels["post"]),
        "location_sources": tally.location_sources,
        "georeference": {
            "largest_residual_px": round(max(tally.residuals.values(), default=0.0), 4),
            "residuals_px": {scene_id: round(residual, 4) for scene_id, residual in sorted(tally.residuals.items())},
            "not_used": sorted(tally.places_not_used),
        },
        "polygons": tally.polygons,
        "margin_buildings": tally.margin,
        "statistics": tally.quality.statistics(),
        "registration": tally.quality.registration(),
        "near_duplicates": tally.quality.duplicates(same),
        "leaks": leak_report(tally.splits, seen.footprints, seen.overlaps, tally.quality.look_alikes(same)),
        "left_out": sorted(tally.left_out, key=lambda entry: entry["patch_id"]),
        "remarks": [{"scene_id": scene_id, "remark": remark} for scene_id, remark in sorted(tally.remarks)],
        "quarantine": sorted(tally.quarantine, key=lambda entry: entry["scene_id"]),
        "scenes_in_two_splits": list(release.repeated),
        "unrecognised_files": sorted(release.unrecognised),
        "shards": shards,
    }


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write dataset.json."""
    (folder / FILE_NAME).write_text(as_json(content, 2), encoding="utf-8")


def added_up(parts: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts of several parts of a dataset together."""
    sums = {name: sum(part[name] for part in parts) for name in ("scenes", "patches", "labelled_patches")}
    return sums | {"buildings": {name: sum(part["buildings"][name] for part in parts) for name in CLASSES}}


def _no_counts() -> dict[str, Any]:
    return {"scenes": 0, "patches": 0, "labelled_patches": 0, "buildings": dict.fromkeys(CLASSES, 0)}


def _combine(digests: dict[str, str]) -> str:
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
