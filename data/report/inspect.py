"""`report.html` in a built dataset: what is in it, with pictures.

On a laptop: `pre2post inspect --dataset d512`
"""

import math
from pathlib import Path
from typing import Any

from data.captions.severity import damage_ratio
from data.dataset.manifest_schema import DESCRIBED, Described, Shard
from data.dataset.open import described
from data.dataset.summary import next_step
from data.disk import look
from data.quality.leaks import leak_note
from data.report.charts import above_zero, histogram
from data.report.dark import dark_patches
from data.report.gallery import choose, gallery
from data.report.map import COLUMNS as MAP_COLUMNS
from data.report.map import maps
from data.report.page import page
from data.report.pairs import COLUMNS as PAIR_COLUMNS
from data.report.pairs import days_between, event_table, off_nadir, warnings, worst_pairs
from data.report.quality import quality_charts
from data.row_schema import check_rows, opened
from data.schema import DAMAGE_VALUES, QUALITY
from data.storage import write_text

_COLUMNS = ["patch_id", "event", "counts", *MAP_COLUMNS, *QUALITY, *PAIR_COLUMNS]


def inspect(*, dataset: Path) -> None:
    """Write report.html into a built dataset: counts, what was left out, distributions, pictures.

    Args:
        dataset: The folder that `pre2post build` wrote.
    """
    manifest = described(dataset, DESCRIBED)
    look(dataset)  # before minutes of work
    write_report(dataset, manifest)
    print(f"Report in {dataset / 'report.html'}. Next, {next_step(dataset, manifest['build']['size'])}")


def write_report(dataset: Path, manifest: Described) -> None:
    """The same for a dataset that is being built; `manifest` is its dataset.json."""
    rows = [row for shard in manifest["shards"] for row in _read(dataset, shard)]
    worst = worst_pairs(rows)
    html = page(
        manifest,
        [*filter(None, [leak_note(manifest)]), *warnings(manifest, rows, dark_patches(dataset, rows))],
        event_table(rows),
        _charts(rows),
        maps(rows),
        gallery(dataset, choose(rows)),
        gallery(dataset, worst) if worst else "",
    )
    write_text(dataset / "report.html", html)


def _read(folder: Path, shard: Shard) -> list[dict[str, Any]]:
    with opened(folder / shard["file"]) as file:
        table = file.read(_COLUMNS)
    check_rows(table, str(folder / shard["file"]), _COLUMNS)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        classes = {name: row["counts"][name.replace("-", "_")] or 0 for name in DAMAGE_VALUES}
        row["ratio"] = damage_ratio(classes)
        row["total"] = sum(classes.values())
        row["damaged"] = classes["minor-damage"] + 2 * classes["major-damage"] + 3 * classes["destroyed"]
        row |= {"split": shard["split"], "file": shard["file"]}
    return rows


def _charts(rows: list[dict[str, Any]]) -> list[str]:
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    damage = above_zero("Mean damage of a patch", "0 intact, 1 all destroyed", ratios, "patches with buildings")
    gaps = [days for row in rows if not math.isnan(days := days_between(row))]
    views = [angle for row in rows for phase in ("pre", "post") if not math.isnan(angle := off_nadir(row, phase))]
    longest = max([365.0, *gaps])
    return [
        damage,
        histogram("Time between pre and post", "days", gaps, min([0.0, *gaps]), longest),
        histogram("Off-nadir angle", "degrees, of both images", views, 0, 45),
        *quality_charts(rows),
    ]
