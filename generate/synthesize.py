"""Make a labelled synthetic data set: known places, invented damage, generated post images.

On a laptop: `pre2post synthesize --checkpoint runs/mask --dataset d256 --out synthetic --limit 16 --steps 10`
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image

from data.captions.facts import CaptionOptions
from data.captions.styles import captions
from data.dataset.open import fingerprint, open_dataset
from data.examples.condition import condition_of
from data.examples.invented_damage import invented_damage
from data.examples.place import spots_of
from data.examples.sampler import example_rng
from data.imagery.encode import encode_png
from data.imagery.pixels import resize_mask, resize_rgb
from data.progress import Bar
from data.storage import entries, partial_name, whole, write_text
from data.strict_json import as_json
from generate.checkpoint import Checkpoint, open_base, open_checkpoint, solved
from generate.errors import GenerateError
from generate.generator import load_generator
from generate.images.items import Item, spread
from generate.make import Task, make_images, tasks_of
from generate.output import check_folder, check_same, lines_of
from generate.processes import everyone, from_main, join_processes, sole_writer
from generate.prompts import check_prompts
from generate.sampling import PUBLISHED, Sampling
from generate.scale import note_scale
from generate.scenes.scene import windowing

POST, PRE, MASKS, CARD = "post", "pre", "masks", "synthetic.json"
FORMAT = "pre2post-synthetic"
CAPTIONS = ("short", "placed", "diffusionsat")  # that need no more facts than a row has
COLUMNS = ["patch_id", "event", "disaster_type", "size", "pixel_size_m", "pre", "buildings"]


def synthesize(
    *,
    checkpoint: Path,
    dataset: Path,
    out: Path,
    split: str = "train",
    limit: int | None = None,
    base: str | None = None,
    overwrite: bool = False,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Generate post images of invented damage: labelled pairs for training a damage model.

    Uses the pre images and footprints of a dataset, never its post images or damage labels, so places whose disaster
    was not imaged or labelled are suitable. Every patch gets an invented damage mask, from which the
    ControlNet generates the post image. Writes `pre/`, `post/` (with the manifest), `masks/` (0 no building, 1 to 4
    damage) and `synthetic.json`. Patches without footprints are left out. Resumable, and reproducible from the seed.

    Args:
        checkpoint: A run folder or one of its checkpoints/step-*, trained with a mask in `model.condition` and
            captions of style short, placed or diffusionsat.
        dataset: A folder made by `pre2post build`.
        out: The output folder.
        split: Split of the dataset.
        limit: Number of patches, evenly spread over the split; by default all.
        base: Where the base is now, by default where the training found it.
        sampling: How the images are sampled; the seed also determines the invented damage.
        overwrite: Replace pairs in the same folder made with other settings.
    """
    join_processes()
    with sole_writer(out):
        from_main(lambda: _check_out(out))
        trained = open_checkpoint(checkpoint)
        check_checkpoint(trained)
        sampling = solved(sampling, trained)
        side = sampling.size or trained.resolution
        rows = open_dataset(dataset, split)
        note_scale(trained, side, rows["size"][:])
        positions = spread(len(rows), limit)
        origin = {"dataset_fingerprint": fingerprint(dataset)}
        items, masks = _items(rows, origin, positions, trained, side, sampling.seed)
        if not items:
            raise GenerateError(f"{dataset}, split {split}: none of {len(positions)} patches has building footprints.")
        parts = open_base(trained, base)
        check_prompts(parts.load_tokenizer(), [one.prompt for one in items], chunks=trained.text_chunks, captions=True)
        facts = trained.described() | sampling.described(trained.resolution) | {"watermark": False}
        facts |= {"invented_damage_seed": sampling.seed, **origin}
        tasks = tasks_of(items, sampling, facts)
        from_main(lambda: _begin(out, tasks, facts, overwrite))
        # Before the images, so that no image is ever without its label.
        from_main(lambda: _write_masks(out, items, masks, rows, side))
        load = partial(load_generator, trained, parts, sampling)
        windows = windowing(side, None, 0.5)
        make_images(tasks, out / POST, load, sampling, windows, watermark=False, overwrite=overwrite, what="synthesize")
        if not everyone().is_main:
            return
        card = {
            "format": FORMAT,
            **origin,
            "split": split,
            "resolution": side,
            "patch_px": int(rows[0]["size"]),
            "pairs": len(lines_of(out / POST)),
            "without_footprints": len(positions) - len(items),
            "seed": sampling.seed,
            **trained.described(),
            "trained_on": trained.trained_on,
        }
        write_text(out / CARD, as_json(card))  # last: marks completion
        print(f"{len(tasks)} pairs in {out}; {len(positions) - len(items)} patches without footprints skipped")


def _items(
    rows: Dataset, origin: dict[str, Any], positions: Sequence[int], trained: Checkpoint, side: int, seed: int
) -> tuple[list[Item], list[bytes]]:
    """What to generate, and the PNG of each mask; patch k's damage depends on (seed, k) only."""
    places, images = rows.select_columns([name for name in COLUMNS if name != "pre"]), rows.select_columns(["pre"])
    condition = condition_of(trained.trained, trained.condition)
    spots = spots_of(rows)
    items, masks = [], []
    for position in positions:
        row: Mapping[str, Any] = places[position]
        found = invented_damage(row, example_rng(seed, position))
        if found is None:
            continue
        mask, known = found
        said = captions(known, CaptionOptions())
        (text,) = (one["text"] for one in said if (one["style"], one["target"]) == (trained.caption_style, "post"))

        def read(position: int = position, mask: NDArray[np.uint8] = mask) -> NDArray[np.uint8]:
            return condition.shown(images[position]["pre"], Image.fromarray(mask), side)

        png = encode_png(resize_mask(Image.fromarray(mask), side))
        facts = origin | {"mask_sha256": hashlib.sha256(png).hexdigest()}
        place = spots[position].shown(side)
        items.append(Item(position, row["patch_id"], text, lambda facts=facts: facts, read, place=place))  # type: ignore[misc]
        masks.append(png)
    return items, masks


def check_checkpoint(trained: Checkpoint, styles: Sequence[str] = CAPTIONS) -> None:
    """Stop unless a checkpoint makes a post image of a damage mask, with captions that labels can give.

    Raises:
        GenerateError: what it lacks.
    """
    if not condition_of(trained.trained, trained.condition).with_mask:
        raise GenerateError(
            f"{trained.folder}: trained with model.condition {trained.condition}, so it takes no damage mask. "
            "Train one with --model.condition pixels+mask or latents+mask, or name tiny-mask, which ships."
        )
    if trained.direction == "past":
        raise GenerateError(f"{trained.folder}: trained with data.direction past, so it generates no post images.")
    if trained.caption_style not in styles:
        raise GenerateError(
            f"{trained.folder}: its captions are of style {trained.caption_style}; invented damage has captions "
            f"in {' and '.join(styles)} only. Train with one of these."
        )


def _check_out(out: Path) -> None:
    """Raise if the folder contains anything but an earlier run's output."""
    foreign = [path.name for path in entries(out) if path.name not in (POST, PRE, MASKS, CARD, partial_name(CARD))]
    if foreign:
        raise GenerateError(f"out {out} contains other files ({', '.join(foreign[:3])}). Name another folder.")
    check_folder(out / POST)


def _begin(out: Path, tasks: Sequence[Task], facts: Mapping[str, Any], overwrite: bool) -> None:
    """Remove the card that marks completion.

    Raises:
        GenerateError: pairs made with other settings would be mixed with the new ones.
    """
    wanted = {task.file: task.made for task in tasks}
    if not overwrite:
        check_same(out / POST, wanted)
    for file, line in lines_of(out / POST).items():
        if file not in wanted and any(line.get(name) != value for name, value in facts.items() if name != "checkpoint"):
            raise GenerateError(
                f"out {out} contains {file} of an earlier run with other settings, not requested now: a folder holds "
                "pairs of one kind. Raise --limit with --overwrite to regenerate all, or name another folder."
            )
    (out / CARD).unlink(missing_ok=True)


def _write_masks(out: Path, items: Sequence[Item], masks: Sequence[bytes], rows: Dataset, side: int) -> None:
    """Write the labels, and the pre images at network size."""
    images = rows.select_columns(["pre"])
    for folder in (PRE, MASKS):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for item, mask in Bar(zip(items, masks, strict=True), total=len(items), desc="masks", unit="patch"):
        for folder, png in ((MASKS, mask), (PRE, encode_png(resize_rgb(images[item.key]["pre"], side)))):
            with whole(out / folder / f"{item.name}.png") as path:
                path.write_bytes(png)
