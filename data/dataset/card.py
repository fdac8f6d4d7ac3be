"""The dataset card: it lists the data files for `datasets.load_dataset`, and describes the dataset for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.dataset.manifest import CLASSES, added_up
from data.sources.events import EVENTS

XBD_NOTE = """\
Made from xBD (Gupta et al. 2019, [arXiv:1911.09296](https://arxiv.org/abs/1911.09296)), imagery by Maxar, licence
[CC BY-NC-SA 4.0](https://creativecommons.org/licenses/by-nc-sa/4.0/): not for commercial use, attribution required,
derived data under the same licence."""
OTHER_NOTE = "The licence of the source applies to this dataset too."

MASK_RULES = {
    "centre": "a pixel belongs to the building that contains its centre. For comparison with published scores, "
    "build with `--mask-rule xview2`.",
    "xview2": "as the official targets are painted, corners rounded and outlines included.",
}

COLUMNS = """\
| column | what |
|---|---|
| `pre`, `post` | RGB PNG of the same ground before and after the event |
| `damage_mask` | 0 background, 1 no damage, 2 minor, 3 major, 4 destroyed, 255 unknown; null if unknown |
| `change_mask` | 0..255 true strength of change; null but in simulated data |
| `cover_mask` | 0..255 how much of the pixel nobody could foresee (cloud, missing data); null but in simulated data |
| `post_again` | a second image of the same aftermath, taken at another time; null if there is none |
| `captions` | list of `style`, `target` (`pre` or `post`), `text`, `mirrored` (the text for the mirrored view) |
| `metadata_pre`, `metadata_post` | lon, lat, metres per pixel, cloud fraction, year, month, day; NaN = unknown |
| `location_source` | `tile`: from the scene's polygons; `raster`: its GeoTIFF; `event`: mean of its event; `unknown` |
| `transform`, `crs_wkt` | affine map (a to f) from patch pixels to that CRS; empty unless `tile` or `raster` |
| `counts` | buildings per damage class whose centroid lies in the patch; null without post label |
| `buildings` | polygons in patch pixels (x right, y down), clipped, with damage; `counted` as in `counts` |
| `nodata_fraction`, `nodata_pre`, `nodata_post` | share of pixels without data: in either image, in each |
| `shift_px` | (dy, dx) in pixels by which post must move to lie on pre; NaN unless the estimate is confident |
| `shift_confidence`, `shift_source` | 0..1, confident from 0.5; estimated in the `patch` or its `scene` |
| `scene_shift_px`, `scene_shift_confidence` | the same of the whole scene, before any alignment |
| `moved_px` | (dy, dx) by which `--align` moved post; 0 without |
| `cloud_pre`, `cloud_post` | share of the image with cloud that the other has not, 0..1 |
| `haze_pre`, `haze_post` | typical brightness of what should be dark, 0..1 |
| `sharpness_pre`, `sharpness_post` | share of the gradient's energy in the finest detail, 0..1 |
| `radiometric_gain`, `radiometric_offset` | per channel: post is about gain * pre + offset (8-bit values) |
| `radiometric_gap` | mean difference of the tones of pre and post, 8-bit values |
| `phash_pre` | 64-bit perceptual hash of pre, hexadecimal |"""

HISTORY = """
| `history` | list of RGB PNG of the ground of `pre` from before it, the oldest first; null without any |
| `metadata_history` | of each of them, as `metadata_pre` |"""


def write_card(folder: Path, manifest: dict[str, Any]) -> None:
    """Write README.md for the dataset described by `manifest`."""
    from_xbd = any(event in EVENTS for event in manifest["events"])
    build = manifest["build"]
    rule = MASK_RULES[build["mask_rule"]]
    parts = [
        _front_matter(manifest["splits"], from_xbd),
        f"# Pre- and post-disaster patches of {build['size']} x {build['size']} px",
        XBD_NOTE if from_xbd else OTHER_NOTE,
        "```python\nimport datasets\n\ndataset = datasets.load_dataset(FOLDER, split="
        f'"{next(iter(manifest["splits"]))}")\n```',
        f"Built by pre2post {manifest['pre2post_version']} from `{build['source']}`, split by {build['split_by']} "
        f"(seed {build['seed']}). What was counted and left out: `dataset.json`; with pictures: `report.html`.",
        "## Splits",
        _count_table("split", manifest["splits"]),
        "## Events",
        _count_table("event", event_totals(manifest["events"])),
        f"Damage masks (`--mask-rule {build['mask_rule']}`): {rule}",
        f"## Columns\n\n{COLUMNS}{HISTORY if 'history' in manifest else ''}",
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front_matter(splits: dict[str, Any], from_xbd: bool) -> str:
    lines = ["---"]
    lines += ["license: cc-by-nc-sa-4.0"] * from_xbd
    lines += ["tags:", "- remote-sensing", "- disaster", "- pre2post"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def event_totals(events: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of every event over all splits."""
    return {event: added_up(entry["splits"].values()) for event, entry in events.items()}


def count_cells(part: Mapping[str, Any]) -> list[str]:
    """Scenes, patches and buildings per class for a table; without any label a dash, not 0."""
    counts = [f"{number:,}" if part["labelled_patches"] else "-" for number in part["buildings"].values()]
    return [f"{part['scenes']:,}", f"{part['patches']:,}", *counts]


def _count_table(kind: str, counts: dict[str, Any]) -> str:
    names = [name.replace("_", "-") for name in CLASSES]
    lines = [f"| {kind} | scenes | patches | " + " | ".join(names) + " |", "|---|" + "---:|" * (2 + len(names))]
    lines += [f"| {key} | " + " | ".join(count_cells(part)) + " |" for key, part in counts.items()]
    return "\n".join(lines)
