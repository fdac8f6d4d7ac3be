"""Build a dataset of aligned patches from an xView2 release.

On a laptop: `pre2post build --source xbd --out d512`
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from data.captions.facts import CaptionOptions
from data.captions.file import CHECKED_FROM, CaptionFile
from data.captions.severity import MODERATE_FROM, SEVERE_FROM
from data.dataset.card import write_card
from data.dataset.destination import led_folder, resumable_folder
from data.dataset.exports import export
from data.dataset.manifest import Tally, describe, write_manifest
from data.dataset.manifest_schema import DESCRIBED
from data.dataset.open import described as read_described
from data.dataset.pieces import Piece, build_pieces, plan, read_piece, unfinished
from data.dataset.processes import Processes, join_processes
from data.dataset.rows import Cut, SceneResult, SceneTask
from data.dataset.splits import SPLITS, assign_splits
from data.dataset.summary import some, summary
from data.errors import DataError
from data.imagery.geo import check_proj
from data.imagery.raster import parse_bands
from data.options import OFFICIAL, PARQUET_ONLY, Exports, MaskRule, SplitRule
from data.quality.leaks import leak_note, leak_pairs
from data.quality.screening import COMPARABLE, Screening
from data.report.inspect import write_report
from data.sources.large import cut_large
from data.sources.pairs import find_pairs
from data.sources.release import Release, find_release
from data.sources.survey import Survey, survey
from data.workers import WorkerPool, checked_workers


def build(
    *,
    out: Path,
    source: Path | None = None,
    manifest: Path | None = None,
    size: int = 512,
    bands: str = "1,2,3",
    split: SplitRule = OFFICIAL,
    screening: Screening = COMPARABLE,
    mask_rule: MaskRule = "centre",
    exports: Exports = PARQUET_ONLY,
    captions: Path | None = None,
    moderate_from: float = MODERATE_FROM,
    severe_from: float = SEVERE_FROM,
    workers: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
) -> None:
    """Cut an xView2 release, or pairs listed in a manifest, into aligned patches with masks, captions and metadata.

    The result is a folder of Parquet shards that `datasets.load_dataset` opens, with a card (README.md), counts and
    everything left out (dataset.json), and pictures (report.html). Scenes that cannot be read are left out and
    named with their reason. The same source and options give the same bytes, however many workers build them.
    After an interruption the same command continues where it stopped. Several machines that share a disk build one
    dataset together: accelerate launch -m launch.cli build (docs/dataset.md).

    Args:
        out: The folder to write. It appears only when it is complete.
        source: The release: a folder with any of train, tier1, tier3, test, hold, each with images/ and labels/,
            or a folder that holds images/ and labels/ itself. Images are PNG or GeoTIFF, of 8 or 16 bits.
        manifest: Instead of a release: a JSONL file with an object per pair: pre, post, event, and if known scene_id,
            disaster_type, pre_date, post_date, pre_label, post_label or mask, split (docs/sources.md). Where post is on
            another grid, it is resampled onto that of pre.
        size: Side of a patch in pixels, a multiple of 8. A margin narrower than a patch is left out.
        bands: Which bands of the images are red, green and blue, such as 5,3,2; the first is 1.
        split: Which scenes are for training, validation and test; its seed also chooses the captions' phrasings.
        screening: Which patches are left out.
        captions: More captions, a JSONL file with scene_id or patch_id, style, target, text (docs/captions.md).
        moderate_from: Damage ratio from which captions call the damage moderate, not slight; all destroyed is 1.
        severe_from: Damage ratio from which captions call the damage severe.
        mask_rule: `centre`: a pixel of the damage mask belongs to the building that contains its centre. `xview2`: as
            the official targets are painted, half a pixel wider all around; for comparison with published scores.
        exports: What is written in addition to the Parquet shards.
        workers: Number of processes; by default one per processor, shared among the processes of a launch.
        overwrite: Replace a dataset that an earlier build wrote to `out`.
        strict: Stop at the first scene that cannot be used, and when a place is in two splits.
    """
    check_proj()
    workers = checked_workers(workers)
    wording = CaptionOptions(split.seed, moderate_from, severe_from)
    cut = Cut(size, wording, screening, parse_bands(bands), mask_rule)
    joined = CaptionFile(captions, wording) if captions else None
    finish, processes = partial(_finish, strict, joined), join_processes()
    if not processes.is_main:
        _build_share(out, processes, workers, finish)
        return
    found, name = _find(source, manifest)
    settings = {"source": name, "size": size, "bands": bands, **split.settings(), "moderate_from": moderate_from}
    settings |= {"severe_from": severe_from, "mask_rule": mask_rule, **screening.settings()}
    with resumable_folder(out, overwrite) as work, WorkerPool(workers) as pool:
        release = _cut_rasters(found, cut, strict)
        seen = survey(release.scenes, pool)
        pieces = _planned(release, seen, split, cut, joined)
        _build_missing(work, pieces, processes, pool, finish)
        described = _described(work, release, seen, pieces, settings, joined, strict)
        described["exports"] = export(work / "dataset", described["shards"], pool, exports)
        fault = _finish_dataset(work / "dataset", described, strict)
    print(summary(described, out, fault))


def _cut_rasters(found: Release, cut: Cut, strict: bool) -> Release:
    """The release with large rasters cut into scenes."""
    release = cut_large(found, cut.size, cut.bands)
    for scene_id, reason in release.incomplete:
        _stop_if(strict, scene_id, reason)
    return release


def _planned(release: Release, seen: Survey, split: SplitRule, cut: Cut, joined: CaptionFile | None) -> list[Piece]:
    """All scenes in the order of their splits, in pieces."""
    splits = assign_splits(release.scenes, split, seen.overlaps)
    ordered = sorted(release.scenes, key=lambda scene: (SPLITS.index(splits[scene.scene_id]), scene.scene_id))
    history = any(scene.history for scene in ordered)
    tasks = [SceneTask(scene, seen.events[scene.event], cut, history) for scene in ordered]
    return plan(tasks, splits, joined.sha256 if joined else "")


def _build_missing(
    work: Path, pieces: list[Piece], processes: Processes, pool: WorkerPool, finish: Callable[[SceneResult], None]
) -> None:
    """What an earlier run has not built, together with the other processes."""
    missing = unfinished(work, pieces)
    done = sum(len(piece.tasks) for piece in pieces) - sum(len(piece.tasks) for piece in missing)
    build_pieces(work, processes.share(missing), pool, finish, done)
    processes.wait()


def _described(
    work: Path,
    release: Release,
    seen: Survey,
    pieces: list[Piece],
    settings: dict[str, Any],
    joined: CaptionFile | None,
    strict: bool,
) -> dict[str, Any]:
    """The content of dataset.json, except for the exports."""
    tally, shards = _count(work, release, pieces, joined, strict)
    described = describe(tally, settings, shards, release, seen, work / "dataset")
    if histories := [len(scene.history) for scene in release.scenes if scene.history]:
        described["history"] = {"scenes": len(histories), "images": sum(histories), "shortest": min(histories)}
    return described | {"captions_file": joined.outcome() if joined else None}


def _finish_dataset(dataset: Path, described: dict[str, Any], strict: bool) -> str:
    """Write the files that go with the shards; what went wrong with the report, if anything."""
    if strict and (leak := leak_note(described)):
        raise DataError(f"{leak} Stopped, as --strict asks: {some(leak_pairs(described['leaks']))}.")
    write_manifest(dataset, described)
    write_card(dataset, described)
    try:
        write_report(dataset, read_described(dataset, DESCRIBED))
    except Exception as error:  # hours of building are worth more than a page about them
        return f"{type(error).__name__}: {error}"
    return ""


def _build_share(out: Path, processes: Processes, workers: int, finish: Callable[[SceneResult], None]) -> None:
    """What every process but the first does: build the shards that the first assigns to it."""
    mine: list[Piece] = processes.share()  # once the first has made the folder
    with led_folder(out) as work, WorkerPool(workers) as pool:
        build_pieces(work, mine, pool, finish)
    processes.wait()


def _finish(strict: bool, joined: CaptionFile | None, result: SceneResult) -> None:
    """A scene just built gets the captions that join it."""
    _stop_if(strict and bool(result.quarantine), result.scene.scene_id, result.quarantine)
    if joined:
        joined.add_to(result.scene.whole_id, result.rows)


def _find(source: Path | None, manifest: Path | None) -> tuple[Release, str]:
    """The scenes of the release or of the manifest, and its name."""
    if source and not manifest:
        return find_release(source), source.resolve().name
    if manifest and not source:
        return find_pairs(manifest), manifest.name
    raise DataError("give either --source, an xView2 release, or --manifest, a JSONL file of pairs (docs/sources.md).")


def _count(
    work: Path, release: Release, pieces: list[Piece], joined: CaptionFile | None, strict: bool
) -> tuple[Tally, list[dict[str, Any]]]:
    """What became of every scene, and all shards."""
    tally, shards = Tally(), []
    for scene_id, reason in release.incomplete:
        tally.reject(scene_id, reason)
    for outcome in (read_piece(work, piece, CHECKED_FROM if joined else ()) for piece in pieces):
        for result in outcome.results:
            _stop_if(strict and bool(result.quarantine), result.scene.scene_id, result.quarantine)
            tally.add(outcome.piece, result)
            if joined:
                joined.count(result.scene.whole_id, result.rows)
        if outcome.rows:
            shards.append(outcome.shard())
    if not tally.events:
        first = (tally.quarantine or tally.left_out)[0]["reason"]
        raise DataError(f"none of {len(release.scenes)} scenes could be used. The first: {first}")
    return tally, shards


def _stop_if(strict: bool, scene_id: str, reason: str) -> None:
    if strict:
        raise DataError(f"{scene_id}: {reason.rstrip('.')}. Stopped at once, as --strict asks.")
