"""The pictures of the report: pre, post and damage of a few patches, chosen deterministically."""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError
from data.imagery.encode import data_uri
from data.report.charts import CLASS_COLOURS
from data.row_schema import ADVICE, check_rows, opened, polygons_of
from data.schema import DAMAGE_VALUES

GALLERY_ROWS = 20
PICTURE_PX = 256
_IMAGES = ["patch_id", "size", "pre", "post", "damage_mask", "captions", "buildings"]


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
    for full in rows_in(folder, wanted, _IMAGES):
        name = full["patch_id"]
        with readable(folder / wanted[name]["file"], name):
            pictures[name] = _entry(full, wanted[name]["split"], wanted[name].get("why", ""))
    return "".join(pictures[patch_id] for patch_id in wanted)


def rows_in(folder: Path, wanted: Mapping[str, Mapping[str, Any]], columns: list[str]) -> Iterator[dict[str, Any]]:
    """Columns, pictures among them, of patches by their ids; each one's shard is its `file`."""
    for file in sorted({row["file"] for row in wanted.values()}):
        with opened(folder / file) as shard:
            for group in range(shard.num_row_groups):  # the pictures of a whole shard would take 350 MB
                names = shard.read_row_group(group, ["patch_id"])["patch_id"].to_pylist()
                if not wanted.keys().isdisjoint(names):
                    here = shard.read_row_group(group, columns).take([i for i, n in enumerate(names) if n in wanted])
                    check_rows(here, str(folder / file), columns)
                    yield from here.to_pylist()


@contextmanager
def readable(file: Path, patch_id: str) -> Iterator[None]:
    """Whatever is raised for a damaged picture or polygon within the block becomes one message."""
    try:
        yield
    except Exception as error:  # Pillow and shapely raise a dozen kinds for damaged content
        raise DataError(
            f"{file}: a picture or polygon of patch {patch_id} cannot be read ({error}). {ADVICE}"
        ) from error


def opened_png(png: bytes) -> Image.Image:
    """A picture of a dataset."""
    return Image.open(io.BytesIO(png), formats=("PNG",))


def _entry(row: dict[str, Any], split: str, why: str) -> str:
    pre, post = _thumbnail(row["pre"]["bytes"]), _thumbnail(row["post"]["bytes"])
    patch = row["patch_id"]
    cells = _image(f"pre of {patch}", pre) + _image(f"post of {patch}", post)
    if any(building["damage"] for building in row["buildings"]):
        cells += f'<div class="over">{_image(f"damage of {patch}", _dim(post))}{_polygons(row)}</div>'
    elif row["damage_mask"] is not None:
        cells += _image(f"damage of {patch}", _paint(post, row["damage_mask"]["bytes"]))
    missing = '<div class="missing">no post label</div>' * (row["damage_mask"] is None)
    texts = "".join(
        f"<p><b>{escape(caption['target'])}</b> {escape(caption['text'])}</p>"
        for caption in sorted(row["captions"], key=lambda caption: caption["target"] == "post")
        if caption["style"] == "short"
    )
    name = f"<h3>{escape(patch)} <em>{escape(split)}</em></h3>{f'<p><b>{escape(why)}</b></p>' if why else ''}"
    return f'<article><div class="trio">{cells}{missing}</div>{name}{texts}</article>'


def _image(name: str, pixels: NDArray[np.uint8]) -> str:
    return f'<img src="{data_uri(pixels, "jpeg", quality=82)}" alt="{escape(name, quote=True)}">'


def _polygons(row: dict[str, Any]) -> str:
    """The buildings as they are labelled, in the colours of their damage."""
    names = {value: name for name, value in DAMAGE_VALUES.items()}
    shapes = ""
    for building, outline in zip(row["buildings"], polygons_of(row), strict=True):
        name = names[building["damage"]]
        parts = shapely.get_parts(outline)
        lines = [ring.coords for part in parts for ring in (part.exterior, *part.interiors)]
        path = "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in line[:-1]) + "Z" for line in lines if line)
        colour = CLASS_COLOURS[name.replace("-", "_")]
        look = f'fill="{colour}" stroke="{colour}" fill-rule="evenodd" class="{name}"'
        shapes += f'<path d="{path}" {look}><title>{name}</title></path>'
    return f'<svg viewBox="0 0 {row["size"]} {row["size"]}">{shapes}</svg>'


def _dim(post: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey and dark, so that colours stand out."""
    grey = 20 + 0.45 * post.mean(axis=2, keepdims=True)
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


def _thumbnail(content: bytes) -> NDArray[np.uint8]:
    image = opened_png(content).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _paint(post: NDArray[np.uint8], mask_content: bytes) -> NDArray[np.uint8]:
    """The mask's colours over a dim grey post image."""
    image = opened_png(mask_content).resize((PICTURE_PX, PICTURE_PX), Image.Resampling.NEAREST)
    mask, painted = np.asarray(image), _dim(post)
    for name, value in DAMAGE_VALUES.items():
        painted[mask == value] = _rgb(CLASS_COLOURS[name.replace("-", "_")])
    return painted


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
