"""Outcome of every scene of a built dataset, and `long` captions with the underlying facts: docs/dataset.md.

On a laptop, a second:  python -m benchmarks.studies.dataset_table d512 > table.md

With more than 100 scenes, fully built ones are counted, and only the others are named.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

CAPTIONS = 10
LISTED = 100  # scenes; with more, not all are named
Outcome = tuple[str, str, list[str]]  # scene id, outcome, the other cells
COLUMNS = ["patch_id", "scene_id", "event", "labels", "location_source", "counts", "captions", "sensor_post"]
COLUMNS += ["centre_lon", "centre_lat", "pixel_size_m", "nodata_fraction"]


def main() -> None:
    """Print both in Markdown."""
    folder = Path(sys.argv[1])
    manifest = json.loads((folder / "dataset.json").read_text())
    scenes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for shard in manifest["shards"]:
        for row in pq.read_table(folder / shard["file"], columns=COLUMNS).to_pylist():
            scenes[row["scene_id"]].append(row | {"split": shard["split"]})
    outcomes = sorted(_outcomes(manifest, scenes))
    if len(outcomes) > LISTED:
        print("| outcome | scenes | patches |\n|---|---:|---:|")
        patches: dict[str, list[int]] = defaultdict(list)
        for _, state, cells in outcomes:
            patches[re.split("[:;]", state)[0]].append(int(cells[1] or 0))  # without the reasons
        for state, numbers in patches.items():
            print(f"| {state} | {len(numbers)} | {sum(numbers):,} |")
        print()
        outcomes = [outcome for outcome in outcomes if outcome[1] != "built"]
    if outcomes:
        print("| scene | outcome | split | patches | buildings | location | residual, px |")
        print("|---|---|---|---:|---:|---|---:|")
    for scene_id, state, cells in outcomes:
        print(f"| {' | '.join([scene_id, state, *cells])} |")
    print()
    for row in _chosen(scenes):
        print(_captioned(row), end="\n\n")


def _outcomes(manifest: dict[str, Any], scenes: dict[str, list[dict[str, Any]]]) -> list[Outcome]:
    residuals = manifest["georeference"]["residuals_px"]
    left_out: dict[str, list[str]] = defaultdict(list)
    for entry in manifest["left_out"]:
        left_out[entry["patch_id"].rsplit("_", 3)[0]].append(entry["reason"])
    outcomes: list[Outcome] = []
    for scene_id, rows in scenes.items():
        labels = rows[0]["labels"]
        state = {"both": "built", "none": "built, no labels"}.get(labels, f"built, {labels} label only")
        if reasons := left_out[scene_id]:
            state = f"partly built; {len(reasons)} patches excluded: {reasons[0]}"
        buildings = f"{sum(_buildings(row) for row in rows):,}" if labels in ("both", "post") else "-"
        residual = f"{residuals[scene_id]:.3f}" if scene_id in residuals else "-"
        cells = [rows[0]["split"], str(len(rows)), buildings, rows[0]["location_source"], residual]
        outcomes.append((scene_id, state, cells))
    outcomes += [(entry["scene_id"], f"quarantined: {entry['reason']}", [""] * 5) for entry in manifest["quarantine"]]
    for scene_id in left_out.keys() - scenes.keys():
        outcomes.append((scene_id, f"all patches excluded: {left_out[scene_id][0]}", [""] * 5))
    return outcomes


def _chosen(scenes: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The patch with the most buildings of one scene of every event, then of each event's next scene."""
    best = sorted((max(rows, key=_buildings) for rows in scenes.values()), key=_buildings, reverse=True)
    by_event: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in best:
        if row["labels"] == "both":
            by_event[row["event"]].append(row)
    ranked = [(i, event, row) for event, rows in by_event.items() for i, row in enumerate(rows)]
    return [row for _, _, row in sorted(ranked, key=lambda entry: entry[:2])[:CAPTIONS]]


def _buildings(row: dict[str, Any]) -> int:
    return sum(number or 0 for number in row["counts"].values())


def _captioned(row: dict[str, Any]) -> str:
    texts = [entry["text"] for entry in row["captions"] if (entry["style"], entry["target"]) == ("long", "post")]
    counts = ", ".join(f"{number} {name.replace('_', '-')}" for name, number in row["counts"].items() if number)
    sensor = row["sensor_post"]
    facts = (
        f"{counts}; {sensor['sensor']}, {sensor['capture_date'][:10]}, {sensor['off_nadir_angle']:.1f}° off nadir, sun "
        f"{sensor['sun_elevation']:.1f}° high; {row['centre_lat']:.4f}, {row['centre_lon']:.4f}, "
        f"{row['pixel_size_m']:.3f} m per pixel"
    )
    return f"**{row['patch_id']}** ({facts})\n\n> {texts[0]}"


if __name__ == "__main__":
    main()
