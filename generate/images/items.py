"""Inputs to generate from: image files, a batch file of them, or the patches of a built dataset."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import datasets
import numpy as np
from PIL import Image

from data.dataset.open import fingerprint, open_dataset, rows_of
from data.dataset.patch_list import listed_positions
from data.examples.condition import Condition, condition_of, undamaged
from data.examples.holes import as_image, patch_hole, unknown
from data.examples.place import Place, spots_of
from data.examples.rows import newest, shown_metadata, shown_sequence, too_short
from data.storage import sha256
from generate.checkpoint import Checkpoint
from generate.errors import GenerateError
from generate.images.batch_file import read_batch_file
from generate.images.read import ImageHeader, check_mask, read_header, read_pixels
from generate.inputs import Mask, Metadata, Pixels
from generate.scale import note_ground, note_scale, note_small

# For a checkpoint that records none of its captions.
OF_DIFFUSIONSAT = "a fmow satellite image after being affected by a flooding natural disaster"
BATCH_FILES = (".json", ".jsonl")

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One pre image and what to generate from it."""

    key: int  # position in the split or batch file: with the seed it determines the initial noise
    name: str  # patch_id, or the stem of the file
    prompt: str
    origin: Callable[[], dict[str, str]]  # what identifies the pre image, for the manifest
    read: Callable[[], Pixels] | None  # the pre image at network size; None for a scene
    scene: ImageHeader | None = None  # an image to process in windows
    buildings: Callable[[], Mask | None] | None = None  # where they are, at network size
    source_prompt: str | None = None  # caption of the pre image, in the style of `prompt`
    metadata: Metadata | None = None  # None = unknown
    place: Place | None = None  # in its scene; None = it is one


def file_items(
    pre: Path, prompt: str | None, trained: Checkpoint, *, side: int, window: int, mask: Path | None = None
) -> list[Item]:
    """The items of one image file or of a batch file of them.

    An image that fills one window exactly is generated in a batch with others; any other in windows.

    Args:
        pre: a PNG, JPEG or GeoTIFF, or a .json or .jsonl file that lists several.
        prompt: caption of the new image; for entries of a batch file without their own.
        trained: the checkpoint.
        side: of the network's input, px.
        window: side in image pixels that maps to `side`.
        mask: damage mask for a single image.

    Raises:
        GenerateError: an image is missing or unsupported, an item has no prompt, or two have the same name.
    """
    if pre.suffix.lower() in BATCH_FILES:
        if mask:
            raise GenerateError(f"--mask is for a single image, but {pre} lists several. Generate them one by one.")
        entries = read_batch_file(pre, prompt, advice(trained))
        return [_file_item(key, *entry, trained, side, window) for key, entry in enumerate(entries)]
    if prompt is None:
        raise GenerateError(f"{pre}: a single image has no caption. {advice(trained)}")
    return [_file_item(0, pre, pre.stem, prompt, trained, side, window, mask)]


def patch_items(
    folder: Path,
    split: str,
    trained: Checkpoint,
    *,
    side: int,
    limit: int | None,
    events: Sequence[str] = (),
    patches: Sequence[str] = (),
    prompt: str | None = None,
    style: str | None = None,
) -> list[Item]:
    """The items of some patches of a split; an item's key is its position in the whole split.

    Args:
        folder: a built dataset.
        split: of it.
        trained: the checkpoint, which determines the inputs and the direction.
        side: of the network's input, px.
        limit: number of patches, evenly spread; None = all.
        events: only patches of these; empty = all.
        patches: only these, by patch_id or scene_id; empty = all.
        prompt: for all patches; None = each patch's own caption of `style`.
        style: of the captions; None = that of the training.

    Raises:
        DataError: the split does not exist, is empty, or has no such event or patch.
        GenerateError: a patch lacks the caption.
    """
    rows = open_dataset(folder, split)
    chosen = rows_of(rows, events)
    if patches:
        listed, _ = listed_positions(rows, patches, f"{folder}, split {split}")
        chosen = sorted({*chosen} & {*listed})
        if not chosen:
            raise GenerateError(f"patches: none of those that are listed shows {' or '.join(events)}.")
    positions = [chosen[place] for place in spread(len(chosen), limit)]
    if short := too_short(rows, trained.sequence):
        raise GenerateError(
            f"{folder}: the checkpoint takes {trained.sequence} pre-event images, but {len(short)} "
            f"patches of split {split} have fewer, first {short[0]}. Build it from a source with histories."
        )
    note_scale(trained, side, rows["size"][:])
    names = rows.select_columns(["patch_id"])
    show, masks = _shown_of(rows, trained, side), rows.select_columns(["damage_mask"])
    source, target = ("post", "pre") if trained.direction == "past" else ("pre", "post")
    history = ["metadata_history"] * (trained.sequence > 1)
    numbers = rows.select_columns(["size", "metadata_pre", "metadata_post", *history])
    style = style or trained.caption_style
    prompts = captions_of(rows, positions, style, target) if prompt is None else [prompt] * len(positions)
    captions = rows.select_columns(["captions"])
    sources = [_find_caption(captions[position], style, source) for position in positions]
    spots = spots_of(rows)
    origin = {"dataset_fingerprint": fingerprint(folder)}
    return [
        Item(
            key=position,
            name=names[position]["patch_id"],
            prompt=text,
            origin=lambda: origin,
            read=partial(show, position),
            buildings=lambda position=position: _buildings(masks[position]["damage_mask"], side),  # type: ignore[misc]
            source_prompt=source_text,
            metadata=_metadata(numbers[position], (target, source), trained.sequence, side)
            if trained.metadata
            else None,
            place=spots[position].shown(side),
        )
        for position, text, source_text in zip(positions, prompts, sources, strict=True)
    ]


def _shown_of(rows: datasets.Dataset, trained: Checkpoint, side: int) -> Callable[[int], Pixels]:
    """The network input for a position in a split, read on demand."""
    condition = condition_of(trained.trained, trained.condition)
    needed = ["patch_id", "pre", "post", "damage_mask", *["history"] * (trained.sequence > 1)]
    if condition.with_hole:
        needed += [name for name in ("nodata_fraction", "cover_mask") if name in rows.column_names]
    images, target = rows.select_columns(needed), "pre" if trained.direction == "past" else "post"

    def shown(position: int) -> Pixels:
        if condition.restores:
            return restored_patch(images[position], position, condition, target, side)
        return shown_patch(images[position], trained, side)

    return shown


def shown_patch(row: dict[str, Any], trained: Checkpoint, side: int) -> Pixels:
    """The network input for a patch: its pre image (post image in direction past), and its mask if trained with one."""
    past = trained.direction == "past"
    image, mask = row["post" if past else "pre"], None
    if trained.sequence > 1:
        return shown_sequence(row, trained.sequence, side)
    condition = condition_of(trained.trained, trained.condition)
    if condition.with_mask:
        if row["damage_mask"] is None:
            raise GenerateError(
                f"patch {row['patch_id']} has no damage mask, which the checkpoint was trained with "
                f"(model.condition {trained.condition}). Use a dataset whose scenes all have labels."
            )
        mask = undamaged(row["damage_mask"]) if past else row["damage_mask"]
    return condition.shown(image, mask, side)


def restored_patch(row: Mapping[str, Any], position: int, condition: Condition, phase: str, side: int) -> Pixels:
    """The network input for a patch whose image is restored: that image at a lower resolution or with its hole."""
    hole = as_image(patch_hole(position, side) | unknown(row, phase, side)) if condition.with_hole else None
    return condition.shown(row[phase], hole, side)


def captions_of(dataset: datasets.Dataset, positions: Sequence[int], style: str, target: str = "post") -> list[str]:
    """The caption of one style of each patch's pre or post image; all are looked up before any image is generated."""
    rows = dataset.select_columns(["patch_id", "captions"])
    return [_caption(rows[position], style, target) for position in positions]


def advice(trained: Checkpoint) -> str:
    """How to write a prompt for a checkpoint."""
    example = trained.prompt or OF_DIFFUSIONSAT
    style = "one of its captions" if trained.prompt else f"of DiffusionSat, for the style {trained.caption_style!r}"
    return f"Describe the new image as in training, e.g. ({style}) --prompt {quote(example)}"


def spread(total: int, limit: int | None) -> list[int]:
    """Positions of `limit` items evenly spread over `total`, first and last included; all without a limit."""
    if limit is not None and limit < 1:
        raise GenerateError(f"limit is {limit}; expected 1 or more, or omit it to take all.")
    if limit is None or limit >= total:
        return list(range(total))
    return [int(position) for position in np.linspace(0, total - 1, limit).round()]


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _file_item(
    key: int, path: Path, name: str, prompt: str, trained: Checkpoint, side: int, window: int, mask: Path | None = None
) -> Item:
    header = read_header(path)
    note_small(trained, header, window)
    note_ground(trained, side, header, window)
    files = {"pre": path}
    if mask:
        check_mask(mask, header)
        header, files = replace(header, mask=mask), files | {"mask": mask}

    def origin() -> dict[str, str]:
        paths = {role: str(file) for role, file in files.items()}
        return paths | {f"{role}_sha256": sha256(file) for role, file in files.items()}

    def read() -> Pixels:
        drawn = Image.open(mask, formats=("PNG", "JPEG", "TIFF")) if mask else None
        condition = condition_of(trained.trained, trained.condition)
        return condition.shown(Image.fromarray(read_pixels(path)), drawn, side)

    if header.driver == "GTiff" or window != side or (header.width, header.height) != (side, side):
        return Item(key, name, prompt, origin, read=None, scene=header)
    return Item(key, name, prompt, origin, read=read)


def _metadata(row: dict[str, Any], phases: tuple[str, str], sequence: int, side: int) -> Metadata:
    target, source = (shown_metadata(row[f"metadata_{phase}"], row["size"], side) for phase in phases)
    if sequence == 1:
        return target, source
    earlier = newest(row["metadata_history"], sequence - 1)
    return target, [source, *(shown_metadata(image, row["size"], side) for image in earlier)]


def _buildings(damage_mask: Image.Image | None, side: int) -> Mask | None:
    """Where buildings cover at least half of a pixel, whatever their damage: known before the disaster."""
    if damage_mask is None:
        return None
    share = Image.fromarray((np.asarray(damage_mask) > 0).astype(np.float32))
    return np.asarray(share.resize((side, side), Image.Resampling.BOX)) >= 0.5


def _caption(row: dict[str, Any], style: str, target: str) -> str:
    found = _find_caption(row, style, target)
    if found is None:
        styles = sorted({caption["style"] for caption in row["captions"] if caption["target"] == target})
        raise GenerateError(
            f"patch {row['patch_id']} has no caption of style {style!r} for its {target} image; it has "
            f"{', '.join(styles) or 'none'}. Choose one of these, or give one prompt for all."
        )
    return found


def _find_caption(row: dict[str, Any], style: str, target: str) -> str | None:
    return next((one["text"] for one in row["captions"] if (one["style"], one["target"]) == (style, target)), None)
