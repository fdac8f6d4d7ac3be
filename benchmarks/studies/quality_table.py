"""The quality columns of a built dataset, one line per scene: docs/pair-quality.md.

On a laptop, a second:  python -m benchmarks.studies.quality_table d512
"""

import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from data.schema import QUALITY


def main() -> None:
    """Print the table in Markdown."""
    scenes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted((Path(sys.argv[1]) / "data").glob("*.parquet")):
        for row in pq.read_table(file, columns=["scene_id", *QUALITY]).to_pylist():
            scenes[row["scene_id"]].append(row)
    heads = "scene | scene shift (dy, dx) | confidence | patches: own / scene's / unknown | patch shifts, px "
    print(f"| {heads}| nodata | cloud | haze | sharpness | gap |\n|---|" + "---:|" * 9)
    for scene_id, rows in sorted(scenes.items()):
        print(line(scene_id, rows))


def line(scene_id: str, rows: list[dict[str, Any]]) -> str:
    """One scene; means over its patches, pre -> post."""
    sources = [row["shift_source"] for row in rows]
    dy, dx = rows[0]["scene_shift_px"]
    own = sorted(math.hypot(*row["shift_px"]) for row in rows if row["shift_source"] == "patch")
    cells = [
        scene_id,
        "unknown" if math.isnan(dy) else f"{dy:.2f}, {dx:.2f}",
        f"{rows[0]['scene_shift_confidence']:.2f}",
        f"{sources.count('patch')} / {sources.count('scene')} / {sources.count('')}",
        " ".join(f"{length:.1f}" for length in own) or "-",
        f"{mean(rows, 'nodata_fraction'):.2f}",
        *(f"{mean(rows, f'{name}_pre'):.2f} -> {mean(rows, f'{name}_post'):.2f}" for name in ("cloud", "haze")),
        f"{mean(rows, 'sharpness_pre'):.2f} -> {mean(rows, 'sharpness_post'):.2f}",
        f"{mean(rows, 'radiometric_gap'):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def mean(rows: list[dict[str, Any]], column: str) -> float:
    """Mean over the patches that have it."""
    return float(np.nanmean([row[column] for row in rows]))


if __name__ == "__main__":
    main()
