"""Build a dataset of aligned patches from an xView2 release.

On a laptop: `pre2post build --source xbd --out d512`
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.caption_facts import CaptionOptions
from data.caption_file import CaptionFile, caption_notes
from data.card import write_card
from data.destination import check_destination, whole_folder
from data.errors import DataError
from data.large import cut_large
from data.manifest import Tally, describe, write_manifest
from data.pairs import find_pairs
from data.parallel import WorkerPool, default_workers
from data.raster import Bands, parse_bands
from data.release import Release, find_release
from data.report import inspect
from data.rows import SceneTask, build_scene
from data.screening import Screening
from data.severity import MODERATE_FROM, SEVERE_FROM
from data.shards import ShardWriter
from data.splits import SPLITS, SplitBy, assign_splits
from data.survey import survey_events, survey_scene
from data.tiles import check_size


def build(
    *,
    out: Path,
    source: Path | None = None,
    manifest: Path | None = None,
    size: int = 512,
    bands: str = "1,2,3",
    split_by: SplitBy = "official",
    seed: int = 0,
    max_nodata: float | None = None,
    max_shift: float | None = None,
    max_cloud: float | None = None,
    align: bool = False,
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
        seed: Which scenes or events are held out (not used by `official`), and how captions are phrased.
        captions: More captions, a JSONL file with scene_id or patch_id, style, target, text (docs/captions.md).
        moderate_from: Damage ratio from which captions call the damage moderate, not slight; all destroyed is 1.
        severe_from: Damage ratio from which captions call the damage severe.
        max_nodata: Leave out patches with a larger share of pixels without data, 0 to 1, in either image.
        max_shift: Leave out patches whose post image lies farther from pre, in pixels. Where the shift cannot be told
            (a flood, a closed forest) a patch stays in.
        max_cloud: Leave out patches with cloud over a larger share of either image, 0 to 1. Large white roofs and
            bare concrete can pass for cloud: look at the list in report.html.
        align: Move the post image of a scene onto pre by the estimated shift, to a fraction of a pixel, where the
            estimate is confident. Polygons and damage masks lie on pre and stay.
        workers: Processes; by default as many as there are processors.
        overwrite: Replace a dataset that an earlier build wrote to `out`.
        strict: Stop at the first scene that cannot be used.
    """
    check_size(size)
    screening = Screening(max_nodata=max_nodata, max_shift=max_shift, max_cloud=max_cloud, align=align)
    screening.check()
    if workers is not None and workers < 1:
        raise DataError(f"workers is {workers}; expected 1 or more, or leave it out to use all processors.")
    if not 0 < moderate_from < severe_from <= 1:
        raise DataError(
            f"moderate_from is {moderate_from} and severe_from is {severe_from}; expected 0 < moderate < severe <= 1."
        )
    check_destination(out, overwrite)
    joined = CaptionFile(captions) if captions else None
    chosen = parse_bands(bands)
    release, name = _find(source, manifest)
    release = cut_large(release, size, chosen)
    splits = assign_splits(release.scenes, split_by, seed)
    settings = {"source": name, "size": size, "bands": bands, "split_by": split_by, "seed": seed}
    settings |= {"moderate_from": moderate_from, "severe_from": severe_from}
    with whole_folder(out) as folder, WorkerPool(workers or default_workers()) as pool:
        described = _write(folder, release, splits, settings, screening, pool, strict, joined, chosen)
    print(summary(described, out))


def _find(source: Path | None, manifest: Path | None) -> tuple[Release, str]:
    """The scenes of whichever is given, and its name."""
    if source and not manifest:
        return find_release(source), source.resolve().name
    if manifest and not source:
        return find_pairs(manifest), manifest.name
    raise DataError("give either --source, an xView2 release, or --manifest, a JSONL file of pairs (docs/sources.md).")


def _write(
    folder: Path,
    release: Release,
    splits: dict[str, str],
    settings: dict[str, Any],
    screening: Screening,
    pool: WorkerPool,
    strict: bool,
    joined: CaptionFile | None,
    bands: Bands,
) -> dict[str, Any]:
    tally = Tally()
    for scene_id, reason in release.incomplete:
        _reject(tally, scene_id, reason, strict)
    surveys = pool.map(survey_scene, release.scenes)
    events = survey_events(tqdm(surveys, desc="reading labels", total=len(release.scenes), unit="scene"))
    ordered = sorted(release.scenes, key=lambda scene: (SPLITS.index(splits[scene.scene_id]), scene.scene_id))
    wording = CaptionOptions(settings["seed"], settings["moderate_from"], settings["severe_from"])
    tasks = [SceneTask(scene, settings["size"], events[scene.event], wording, screening, bands) for scene in ordered]
    (folder / "data").mkdir()
    with ShardWriter(folder / "data") as shards:
        for result in tqdm(pool.map(build_scene, tasks), desc="building", total=len(tasks), unit="scene"):
            split = splits[result.scene.scene_id]
            if result.quarantine and strict:
                _reject(tally, result.scene.scene_id, result.quarantine, strict)
            tally.add(split, result)
            if result.rows:
                if joined:
                    joined.add_to(result.rows)
                shards.add_scene(split, result.rows)
        if not tally.events:
            first = (tally.quarantine or tally.left_out)[0]["reason"]
            raise DataError(f"none of {len(tasks)} scenes could be used. The first: {first}")
        described = shards.finish()
    manifest = describe(tally, settings | screening.settings(), described, release.unrecognised)
    manifest["captions_file"] = joined.outcome() if joined else None
    write_manifest(folder, manifest)
    write_card(folder, manifest)
    inspect(folder)
    return manifest


def _reject(tally: Tally, scene_id: str, reason: str, strict: bool) -> None:
    if strict:
        raise DataError(f"{scene_id}: {reason.rstrip('.')}. Stopped at once, as --strict asks.")
    tally.reject(scene_id, reason)


def summary(manifest: dict[str, Any], out: Path) -> str:
    """What a person wants to know when the build is done."""
    scenes = sum(part["scenes"] for part in manifest["splits"].values())
    patches = sum(part["patches"] for part in manifest["splits"].values())
    events = _count(len(manifest["events"]), "event")
    lines = [f"Built {out}: {_count(patches, 'patch')} of {_count(scenes, 'scene')} of {events}."]
    for split, part in manifest["splits"].items():
        buildings = ", ".join(f"{number:,} {name.replace('_', '-')}" for name, number in part["buildings"].items())
        size = f"{_count(part['patches'], 'patch')} of {_count(part['scenes'], 'scene')}"
        lines.append(f"  {split}: {size}; buildings: {buildings}")
    notes = {
        "without labels": manifest["scenes_without_labels"],
        "with one label only": manifest["scenes_with_one_label"],
        "whose xy and lng_lat disagree, located by their event": manifest["georeference"]["not_used"],
    }
    lines += [f"  {what}: {_some(names)}" for what, names in caption_notes(manifest["captions_file"]).items()]
    lines += [f"  {_count(len(names), 'scene')} {what}: {_some(names)}" for what, names in notes.items() if names]
    if strange := manifest["unrecognised_files"]:
        lines.append(f"  {_count(len(strange), 'file')} with other names not read: {_some(strange)}")
    if manifest["margin_buildings"]:
        lines.append(f"  left out in the margin: {_count(manifest['margin_buildings'], 'building')}")
    polygons = manifest["polygons"]
    if any(polygons.values()):
        lines.append(f"  polygons: {polygons['repaired']} repaired, {polygons['dropped']} without area dropped")
    if left_out := manifest["left_out"]:
        lines.append(f"  {_count(len(left_out), 'patch')} left out: {_some([_why(entry) for entry in left_out])}")
    if twins := manifest["near_duplicates"]["listed"]:
        names = _some([f"{entry['patch_id']} = {entry['looks_like']}" for entry in twins])
        lines.append(f"  {_count(len(twins), 'patch')} with the same picture as another scene: {names}")
    lines += [f"  quarantined {entry['scene_id']}: {entry['reason']}" for entry in manifest["quarantine"]]
    return "\n".join([*lines, f"  look at {out / 'report.html'}"])


def _why(entry: dict[str, str]) -> str:
    return f"{entry['patch_id']} ({entry['reason'].rstrip('.')})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more (dataset.json)" if len(names) > 6 else "")


def _count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "es" if noun.endswith("h") else "s"
    return f"{number:,} {noun}{plural}"
