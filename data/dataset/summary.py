"""What the user wants to know after a build."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.captions.file import caption_notes
from data.dataset.splits import SPLITS
from data.quality.leaks import leak_note, leak_pairs
from data.quality.screening import MAYBE_WATER

WITHOUT = {
    "train": "there is nothing to train on",
    "validation": "nothing shows whether a training learns",
    "test": "nothing is held out to evaluate on",
}
OTHERWISE = {  # --split-by -> how a build gets a split that has no patch
    "official": "build with --split-by scene or event, or from a source with folders of other splits",
    "scene": "so few scenes leave it to chance: build with another --seed, or with --split-by event",
    "event": "name its events with --test-events or --validation-events, or build with --split-by scene",
    "list": "so few scenes leave it to chance: build with another --seed, or put some into --test-list",
}


def lacking(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Split without a patch -> what that means, and how to build it."""
    how = OTHERWISE[manifest["build"]["split_by"]]
    return {split: f"{WITHOUT[split]}; {how}." for split in SPLITS if split not in manifest["splits"]}


def summary(manifest: dict[str, Any], out: Path, report_fault: str = "") -> str:
    """The lines that `pre2post build` prints at its end; `report_fault` is why there is no report."""
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
        "whose lng_lat is not used, but the place of their event": manifest["georeference"]["not_used"],
    }
    lines += [f"  {what}: {some(names)}" for what, names in caption_notes(manifest["captions_file"]).items()]
    lines += [f"  {_count(len(names), 'scene')} {what}: {some(names)}" for what, names in notes.items() if names]
    if strange := manifest["unrecognised_files"]:
        lines.append(
            f"  {_count(len(strange), 'file')} not read (another name, or a label without images): {some(strange)}"
        )
    if manifest["margin_buildings"]:
        lines.append(f"  left out in the margin: {_count(manifest['margin_buildings'], 'building')}")
    if found := manifest.get("history"):
        of = f"{_count(found['scenes'], 'scene')}, at least {found['shortest']} each"
        lines.append(f"  earlier images: {found['images']:,} of {of}")
    polygons = manifest["polygons"]
    if any(polygons.values()):
        lines.append(f"  polygons: {polygon_words(polygons)}")
    if left_out := manifest["left_out"]:
        lines.append(f"  {_count(len(left_out), 'patch')} left out: {some([_why(entry) for entry in left_out])}")
        if wet := sum(entry["reason"].endswith(MAYBE_WATER) for entry in left_out):
            lines.append(
                f"    {wet:,} of them for cloud over a flood or tsunami, whose muddy water is mistaken for cloud: "
                "look at them (dataset.json), or build such events without --max-cloud"
            )
    lines += [f"  NO {split} split: {words}" for split, words in lacking(manifest).items()]
    if repeated := manifest["scenes_in_two_splits"]:
        lines.append(f"  {_count(len(repeated), 'scene')} in two split folders, built once: {some(repeated)}")
    if twins := manifest["near_duplicates"]["listed"]:
        names = some([f"{entry['patch_id']} = {entry['looks_like']}" for entry in twins])
        lines.append(f"  {_count(len(twins), 'patch')} with the same image as another scene: {names}")
    lines += _exports(manifest["exports"])
    if leak := leak_note(manifest):
        lines += [f"  LEAK: {leak}", f"    {some(leak_pairs(manifest['leaks']))}"]
    remarks = manifest["remarks"]
    lines += [f"  {entry['scene_id']}: {entry['remark']}" for entry in remarks[:6]]
    lines += [f"  and {_count(len(remarks) - 6, 'remark')} more (dataset.json)"] if len(remarks) > 6 else []
    lines += [f"  quarantined {entry['scene_id']}: {entry['reason']}" for entry in manifest["quarantine"]]
    look = f"look at {out / 'report.html'}, then {next_step(out, manifest['build']['size'])}"
    if report_fault:
        look = (
            f"NO report.html ({report_fault}); everything else is complete. Try again: pre2post inspect --dataset {out}"
        )
    return "\n".join([*lines, f"  {look}"])


def next_step(dataset: Path, size: int) -> str:
    """What to do with a dataset of patches of this side, px."""
    config = f"configs/xbd_sd21_{512 if size >= 512 else 256}.yaml"
    return f"see what training on it would take: python -m train --check --config {config} --data.dataset {dataset}"


def _exports(exports: dict[str, Any]) -> list[str]:
    lines = []
    if tars := exports.get("webdataset"):
        lines.append(f"  webdataset: {_count(tars['samples'], 'sample')}")
        if names := tars["left_out"]:
            lines.append(f"    without gsd and date in both labels, left out there: {some(names)}")
    if files := exports.get("geotiff"):
        lines.append(f"  geotiff: {_count(files['files'], 'file')}")
        if names := files["left_out"]:
            lines.append(f"    without a place of their own, left out there: {some(names)}")
    return lines


def polygon_words(polygons: dict[str, int]) -> str:
    """How many were repaired or left out."""
    words = f"{polygons['repaired']:,} repaired, {polygons['dropped']:,} without area left out"
    other = polygons.get("no_building", 0)  # older datasets do not say
    return f"{words}, {other:,} that are no buildings left out" if other else words


def _why(entry: dict[str, str]) -> str:
    return f"{entry['patch_id']} ({entry['reason'].rstrip('.')})"


def some(names: Sequence[str]) -> str:
    """The first of a list, and how many more."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more (dataset.json)" if len(names) > 6 else "")


def _count(number: int, noun: str) -> str:
    plural = "" if number == 1 else "es" if noun.endswith("h") else "s"
    return f"{number:,} {noun}{plural}"
