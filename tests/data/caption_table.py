"""Print the captions of a few patches of a built dataset as Markdown, for docs/captions.md.

pre2post simulate --out /tmp/rel --scenes 12 --seed 3 && pre2post build --source /tmp/rel --out /tmp/sim --size 256
python -m tests.data.caption_table /tmp/sim PATCH_ID ...
"""

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

STYLES = ("diffusionsat", "short", "placed", "long", "chunks")


def table(row: dict[str, Any]) -> str:
    """One patch: styles down, pre and post side by side."""
    counts = ", ".join(f"{number} {name.replace('_', '-')}" for name, number in row["counts"].items() if number)
    lines = [f"**{row['patch_id']}** ({counts or 'no buildings'})", "", "| style | pre | post |", "|---|---|---|"]
    for style in STYLES:
        texts = {
            target: [e["text"] for e in row["captions"] if (e["style"], e["target"]) == (style, target)]
            for target in ("pre", "post")
        }
        for pre, post in zip(texts["pre"], texts["post"], strict=True):
            lines.append(f"| `{style}` | {pre} | {post} |".replace("\n", "<br>"))
            if style in ("long", "chunks"):
                break  # the second one says the same in other words
    varied = next(e for e in row["captions"][::-1] if (e["style"], e["target"]) == ("placed", "post"))
    return "\n".join([*lines, f"| `placed`, mirrored view | | {varied['mirrored']} |"])


if __name__ == "__main__":
    files = sorted((Path(sys.argv[1]) / "data").iterdir())
    rows = {row["patch_id"]: row for file in files for row in pq.read_table(file).to_pylist()}
    print("\n\n".join(table(rows[patch_id]) for patch_id in sys.argv[2:]))
