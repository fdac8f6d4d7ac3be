"""The pictures of the report: pre, post and damage of a few patches, chosen without chance."""

import base64
import io
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from data.report_charts import CLASS_COLOURS
from data.schema import DAMAGE_VALUES

GALLERY_ROWS = 20
PICTURE_PX = 256
_IMAGES = ["patch_id", "pre", "post", "damage_mask", "captions"]


def choose(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most damaged patch of every event, then each event's next, until the gallery is full."""
    by_event: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (-row["damaged"], -row["total"], row["patch_id"])):
        by_event[row["event"]].append(row)
    rank = {row["patch_id"]: i for members in by_event.values() for i, row in enumerate(members)}
    ordered = sorted(rows, key=lambda row: (rank[row["patch_id"]], row["event"]))
    return sorted(ordered[:GALLERY_ROWS], key=lambda row: (row["event"], rank[row["patch_id"]]))


def gallery(folder: Path, chosen: list[dict[str, Any]]) -> str:
    """The rows of pictures, read from the shards of a built dataset."""
    wanted = {row["patch_id"]: row for row in chosen}
    pictures: dict[str, str] = {}
    for file in sorted({row["file"] for row in chosen}):
        here = [patch_id for patch_id, row in wanted.items() if row["file"] == file]
        table = pq.read_table(folder / file, columns=_IMAGES, filters=[("patch_id", "in", here)])
        for full in table.to_pylist():
            pictures[full["patch_id"]] = _entry(full, wanted[full["patch_id"]]["split"])
    return "".join(pictures[patch_id] for patch_id in wanted)


def _entry(row: dict[str, Any], split: str) -> str:
    pre, post = _thumbnail(row["pre"]["bytes"]), _thumbnail(row["post"]["bytes"])
    images = [("pre", pre), ("post", post)]
    if row["damage_mask"] is not None:
        images.append(("damage", _paint(post, row["damage_mask"]["bytes"])))
    cells = "".join(f'<img src="{_data_uri(pixels)}" alt="{name}" title="{name}">' for name, pixels in images)
    missing = '<div class="missing">no post label</div>' * (row["damage_mask"] is None)
    texts = "".join(
        f"<p><b>{escape(caption['target'])}</b> {escape(caption['text'])}</p>"
        for caption in sorted(row["captions"], key=lambda caption: caption["target"] == "post")
        if caption["style"] == "short"
    )
    name = f"<h3>{escape(row['patch_id'])} <em>{escape(split)}</em></h3>"
    return f'<article><div class="trio">{cells}{missing}</div>{name}{texts}</article>'


def _thumbnail(content: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(content)).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _paint(post: NDArray[np.uint8], mask_content: bytes) -> NDArray[np.uint8]:
    """Damage colours over a dim grey post image."""
    image = Image.open(io.BytesIO(mask_content)).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.NEAREST)
    mask, grey = np.asarray(image), post.mean(axis=2, keepdims=True)
    painted = np.repeat(20 + 0.35 * grey, 3, axis=2)
    for name, value in DAMAGE_VALUES.items():
        painted[mask == value] = _rgb(CLASS_COLOURS[name.replace("-", "_")])
    return painted.astype(np.uint8)


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
