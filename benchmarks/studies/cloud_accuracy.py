"""Measured cloud cover compared with visual inspection, on the real patches of docs/pair-quality.md.

On a laptop, a minute:  pre2post build --source xbd --out d512 && python -m benchmarks.studies.cloud_accuracy d512
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

# Post images of 1024 px in squares of 128 px, inspected one by one: # hides the ground, ~ is a veil through which it is
# visible, . is clear.
SEEN = {
    "hurricane-florence_00000004": "....~~## ...~#~## ...~#### ..~~#### ....~### ..~##### ..###### #~######",
    "hurricane-florence_00000005": ".......# ........ ........ ~~...... ~~...... #~#####~ ######~~ ########",
    "guatemala-volcano_00000003": ".....~.~ ........ ........ ........ ........ ........ ........ ........",
    "guatemala-volcano_00000009": " ".join(["~" * 8] * 8),
    "guatemala-volcano_00000021": " ".join(["~" * 8] * 8),
    "santa-rosa-wildfire_00000305": " ".join(["....~~~~"] * 8),  # smoke
}
# The other post images of these scenes, and the pre images of all of them, are clear.
CLEAR = (
    "hurricane-florence_00000321 hurricane-florence_00000377 hurricane-florence_00000480 hurricane-harvey_00000126 "
    "hurricane-matthew_00000351 hurricane-michael_00000106 hurricane-michael_00000121 hurricane-michael_00000129 "
    "hurricane-michael_00000255 hurricane-michael_00000264 hurricane-michael_00000399 hurricane-michael_00000447 "
    "mexico-earthquake_00000012 mexico-earthquake_00000022 mexico-earthquake_00000076 midwest-flooding_00000000 "
    "midwest-flooding_00000004 midwest-flooding_00000008 nepal-flooding_00000408 palu-tsunami_00000030 "
    "palu-tsunami_00000136 santa-rosa-wildfire_00000012 santa-rosa-wildfire_00000074 santa-rosa-wildfire_00000089 "
    "santa-rosa-wildfire_00000141"
).split()
SQUARE_PX = 128
LIMITS = (0.1, 0.2, 0.3)
COLUMNS = ["patch_id", "scene_id", "row", "col", "size", "cloud_pre", "cloud_post"]

Seen = tuple[dict[str, Any], float]  # a row, and the hidden share of its post image


def main() -> None:
    """Print both tables in Markdown."""
    clouded: list[Seen] = []
    veiled: list[Seen] = []
    clear: list[Seen] = []
    for file in sorted((Path(sys.argv[1]) / "data").glob("*.parquet")):
        for row in pq.read_table(file, columns=COLUMNS).to_pylist():
            if row["scene_id"] in SEEN or row["scene_id"] in CLEAR:
                hidden, veil = seen(row)
                (clouded if hidden > 0.1 else veiled if hidden or veil else clear).append((row, hidden))
                clear.append((row | {"cloud_post": row["cloud_pre"]}, 0.0))
    print("| patch | hidden, visually | measured |\n|---|---:|---:|")
    for row, hidden in clouded:
        print(f"| {row['patch_id']} | {hidden:.2f} | {row['cloud_post']:.2f} |")
    print("\n| `--max-cloud` | cloudy excluded | hazy excluded | clear excluded |\n|---:|---:|---:|---:|")
    for limit in LIMITS:
        over = [sum(row["cloud_post"] > limit for row, _ in rows) for rows in (clouded, veiled, clear)]
        counts = [f"{number} of {len(rows)}" for number, rows in zip(over, (clouded, veiled, clear), strict=True)]
        print(f"| {limit} | {' | '.join(counts)} |")
    print(f"\nOf clear ground {np.nanmean([row['cloud_post'] for row, _ in clear]):.2%} counts as cloud.")


def seen(row: dict[str, Any]) -> tuple[float, float]:
    """Hidden and veiled shares of a post image."""
    squares = np.array([list(line) for line in SEEN.get(row["scene_id"], " ".join(["." * 8] * 8)).split()])
    top, left, size = (row[name] // SQUARE_PX for name in ("row", "col", "size"))
    part = squares[top : top + size, left : left + size]
    return float((part == "#").mean()), float((part == "~").mean())


if __name__ == "__main__":
    main()
