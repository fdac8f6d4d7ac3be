"""Build a dataset of aligned patches from an xView2 release.

On a laptop: `pre2post build --source xbd --out d512`
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from data.captions.facts import CaptionOptions
from data.captions.file import CaptionFile
from data.captions.severity import MODERATE_FROM, SEVERE_FROM
from data.dataset.card import write_card
from data.dataset.destination import led_folder, resumable_folder
from data.dataset.exports import Format, export
from data.dataset.manifest import Tally, describe, write_manifest
from data.dataset.manifest_schema import DESCRIBED
from data.dataset.open import described as read_described
from data.dataset.pieces import Piece, build_pieces, plan, read_piece, unfinished
from data.dataset.processes import Processes, join_processes
from data.dataset.rows import SceneResult, SceneTask
from data.dataset.splits import SPLITS, SplitBy, SplitRule, assign_splits, event_names
from data.dataset.summary import some, summary
from data.errors import DataError
from data.imagery.geo import check_proj
from data.imagery.raster import parse_bands
from data.patches.mask import MaskRule
from data.patches.tiles import check_size
from data.quality.leaks import leak_note, leak_pairs
from data.quality.screening import MAX_NODATA, Screening
from data.report.inspect import write_report
from data.sources.large import cut_large
from data.sources.pairs import find_pairs
from data.sources.release import Release, find_release
from data.sources.survey import survey
from data.workers import WorkerPool, default_workers


def build(
    *,
    out: Path,
    source: Path | None = None,
    manifest: Path | None = None,
    size: int = 512,
    bands: str = "1,2,3",
    split_by: SplitBy = "official",
    test_events: str = "",
    validation_events: str = "",
    seed: int = 0,
    max_nodata: float = MAX_NODATA,
    max_shift: float | None = None,
    max_cloud: float | None = None,
    align: bool = False,
    mask_rule: MaskRule = "centre",
    format: Format = "parquet",
    geotiff: bool = False,
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
    After an interruption the same command goes on where it stopped. Several machines that share a disk build one
    dataset together: accelerate launch -m launch.cli build (docs/dataset.md).

    Args:
        out: The folder to write. It appears only when it is whole.
        source: The release: a folder with any of train, tier1, tier3, test, hold, each with images/ and labels/,
            or a folder that holds images/ and labels/ itself. Images are PNG or GeoTIFF, of 8 or 16 bits.
        manifest: Instead of a release: a JSONL file with an object per pair: pre, post, event, and if known scene_id,
            disaster_type, pre_date, post_date, pre_label, post_label or mask, split (docs/sources.md). Where post lies
            on another grid, it is put onto that of pre.
        size: Side of a patch in pixels, a multiple of 8. A margin narrower than a patch is left out.
        bands: Which bands of the images are red, green and blue, such as 5,3,2; the first is 1.
        split_by: `official`: train, tier1 and tier3 train, hold validates, test tests. `scene`: by a hash of the
            scene's name. `event`: whole disasters are held out, which tells how a model does on an unseen one.
            The last two keep scenes and events that share ground in one split.
        test_events: With `--split-by event`: the events to test on, such as `palu-tsunami,socal-fire`. All others
            train, so one name alone means leave one event out.
        validation_events: With `--split-by event`: the events to validate on.
        seed: Which scenes or events are held out (not used by `official`), and how captions are phrased.
        captions: More captions, a JSONL file with scene_id or patch_id, style, target, text (docs/captions.md).
        moderate_from: Damage ratio from which captions call the damage moderate, not slight; all destroyed is 1.
        severe_from: Damage ratio from which captions call the damage severe.
        max_nodata: Leave out patches with a larger share of pixels without data, 0 to 1, in either image. With 1 only
            those stay out in which nothing is to be seen.
        max_shift: Leave out patches whose post image lies farther from pre, in pixels. Where the shift cannot be told
            (a flood, a closed forest) a patch stays in.
        max_cloud: Leave out patches with cloud over a larger share of either image, 0 to 1. Not for floods: muddy water
            over what pre shows passes for cloud. Thin veils are mostly missed (docs/pair-quality.md).
        align: Move the post image of a scene onto pre by the estimated shift, to a fraction of a pixel, where the
            estimate is confident. Polygons and damage masks lie on pre and stay.
        mask_rule: `centre`: a pixel of the damage mask is of the building that holds its centre. `xview2`: as the
            official targets are painted, half a pixel wider all round; for scores beside published ones.
        format: `webdataset`: beside the Parquet shards also tar files in the layout that DiffusionSat's trainer reads.
        geotiff: Also write every patch as GeoTIFFs, with its coordinate system and transform.
        workers: Processes; by default as many as there are processors. Of each process of a launch, its share of them.
        overwrite: Replace a dataset that an earlier build wrote to `out`.
        strict: Stop at the first scene that cannot be used, and when a place stands in two splits.
    """
    check_proj()
    check_size(size)
    screening = Screening(max_nodata=max_nodata, max_shift=max_shift, max_cloud=max_cloud, align=align)
    screening.check()
    if workers is not None and workers < 1:
        raise DataError(f"workers is {workers}; expected 1 or more, or leave it out to use all processors.")
    wording = CaptionOptions(seed, moderate_from, severe_from)
    wording.check()
    rule = SplitRule(
        split_by=split_by,
        seed=seed,
        test_events=event_names(test_events),
        validation_events=event_names(validation_events),
    )
    joined = CaptionFile(captions) if captions else None
    chosen = parse_bands(bands)
    finish, processes = partial(_finish, strict, joined), join_processes()
    if not processes.is_main:
        _build_share(out, processes, workers or default_workers(), finish)
        return
    found, name = _find(source, manifest)
    settings = {"source": name, "size": size, "bands": bands} | rule.settings()
    settings |= {"moderate_from": moderate_from, "severe_from": severe_from, "mask_rule": mask_rule}
    settings |= screening.settings()
    with resumable_folder(out, overwrite) as work, WorkerPool(workers or default_workers()) as pool:
        release = cut_large(found, size, chosen)
        for scene_id, reason in release.incomplete:
            _stop_if(strict, scene_id, reason)
        seen = survey(release.scenes, pool)
        splits = assign_splits(release.scenes, rule, seen.overlaps)
        ordered = sorted(release.scenes, key=lambda scene: (SPLITS.index(splits[scene.scene_id]), scene.scene_id))
        histories = [len(scene.history) for scene in ordered if scene.history]
        tasks = [
            SceneTask(scene, size, seen.events[scene.event], wording, screening, chosen, mask_rule, bool(histories))
            for scene in ordered
        ]
        pieces = plan(tasks, splits, joined.sha256 if joined else "")
        missing = unfinished(work, pieces)
        done = len(tasks) - sum(len(piece.tasks) for piece in missing)
        build_pieces(work, processes.share(missing), pool, finish, done)
        processes.wait()
        tally, shards = _count(work, release, pieces, joined, strict)
        described = describe(tally, settings, shards, release, seen, work / "dataset")
        if histories:
            described["history"] = {"scenes": len(histories), "images": sum(histories), "shortest": min(histories)}
        described["captions_file"] = joined.outcome() if joined else None
        described["exports"] = export(work / "dataset", shards, pool, format, geotiff)
        if strict and (leak := leak_note(described)):
            raise DataError(f"{leak} Stopped, as --strict asks: {some(leak_pairs(described['leaks']))}.")
        write_manifest(work / "dataset", described)
        write_card(work / "dataset", described)
        fault = _report(work / "dataset")
    print(summary(described, out, fault))


def _report(dataset: Path) -> str:
    """Write the report, or say what went wrong: hours of building are worth more than a page about them."""
    try:
        write_report(dataset, read_described(dataset, DESCRIBED))
    except Exception as error:  # whatever a dataset may hold that the page was not made for
        return f"{type(error).__name__}: {error}"
    return ""


def _build_share(out: Path, processes: Processes, workers: int, finish: Callable[[SceneResult], None]) -> None:
    """What a process does that is not the first: the shards that this one tells it."""
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
    """The scenes of whichever is given, and its name."""
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
    for outcome in (read_piece(work, piece) for piece in pieces):
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
