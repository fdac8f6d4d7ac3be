"""Make a labelled synthetic data set: known places, invented damage, generated post images.

On a laptop: `pre2post synthesize --checkpoint runs/mask --dataset d256 --out synthetic --limit 16 --steps 10`
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from data.condition import shown_pixels
from data.dataset import fingerprint, open_dataset
from data.invented_damage import invented_damage
from data.pixels import resize_mask, resize_rgb
from data.sampler import example_rng
from generate.errors import GenerateError
from generate.items import Item, captions_of, spread
from generate.make import make_images, tasks_of
from generate.output import check_folder
from generate.pipeline import Checkpoint, load_generator, open_base, open_checkpoint
from generate.processes import join_processes
from generate.prompts import check_prompts
from generate.sampling import PUBLISHED, Sampling
from generate.scene import windowing

POST, PRE, MASKS, CARD = "post", "pre", "masks", "synthetic.json"
FORMAT = "pre2post-synthetic"
CAPTIONS = ("short", "diffusionsat")  # the one is worded for the invented damage, the other does not speak of it
COLUMNS = ["patch_id", "event", "disaster_type", "size", "pre", "buildings"]


def synthesize(
    *,
    checkpoint: Path,
    dataset: Path,
    out: Path,
    split: str = "train",
    limit: int | None = None,
    base: str | None = None,
    sampling: Sampling = PUBLISHED,
    overwrite: bool = False,
) -> None:
    """Make post images of invented damage: pairs with labels for training a damage model.

    Takes the pre images and footprints of a dataset, never its post images or damage labels, so that places whose
    disaster was not photographed or not labelled will do. Every patch is given an invented damage mask, and the
    ControlNet draws it. Writes `pre/`, `post/` (with the manifest of the images), `masks/` (0 no building, 1 to 4
    damage) and `synthetic.json`. Patches without footprints are left out. Resumable, and reproducible from the seed.

    Args:
        checkpoint: A run folder or one of its checkpoints/step-*, trained with `model.condition: pixels+mask` and
            captions of style short or diffusionsat.
        dataset: A folder made by `pre2post build`.
        out: The folder to write.
        split: Which split of the dataset.
        limit: Only so many patches, evenly spread over the split.
        base: Where the base lies now, by default where the training found it.
        sampling: How the images are sampled; its seed also decides the invented damage.
        overwrite: Replace images in the same folder that were made otherwise.
    """
    state = join_processes()
    _check_out(out)
    trained = open_checkpoint(checkpoint)
    _check_checkpoint(trained)
    side = sampling.size or trained.resolution
    rows = open_dataset(dataset, split)
    positions = spread(len(rows), limit)
    origin = {"dataset_fingerprint": fingerprint(dataset)}
    items, masks = _items(rows, origin, positions, trained, side, sampling.seed)
    if not items:
        raise GenerateError(f"{dataset}, split {split}: none of {len(positions)} patches has footprints to damage.")
    parts = open_base(trained, base)
    prompts = [item.prompt for item in items]
    check_prompts(parts.load_tokenizer(), prompts, chunks=trained.text_chunks, captions=True)
    facts = trained.described() | sampling.described(trained.resolution) | {"watermark": False}
    facts |= {"invented_damage_seed": sampling.seed}
    load = partial(load_generator, trained, parts, sampling.scheduler)
    windows = windowing(side, None, 0.5)
    tasks = tasks_of(items, sampling, facts)
    make_images(tasks, out / POST, load, sampling, windows, watermark=False, overwrite=overwrite, what="synthesize")
    if not state.is_main_process:
        return
    images = rows.select_columns(["pre"])
    for folder in (PRE, MASKS):
        (out / folder).mkdir(exist_ok=True)
    for item, mask in tqdm(zip(items, masks, strict=True), total=len(items), desc="masks", unit="patch"):
        shown = resize_mask(Image.fromarray(mask), side)
        _write_whole(out / MASKS / f"{item.name}.png", Image.fromarray(shown))
        _write_whole(out / PRE / f"{item.name}.png", Image.fromarray(resize_rgb(images[item.key]["pre"], side)))
    card = {
        "format": FORMAT,
        **origin,
        "split": split,
        "resolution": side,
        "patch_px": int(rows[0]["size"]),
        "pairs": len(tasks),
        "without_footprints": len(positions) - len(items),
        "seed": sampling.seed,
        **trained.described(),
        "trained_on": trained.trained_on,
    }
    (out / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")  # last: all is there
    print(f"{len(tasks)} pairs in {out}; {len(positions) - len(items)} patches without footprints left out")


def _items(
    rows: Dataset, origin: dict[str, Any], positions: Sequence[int], trained: Checkpoint, side: int, seed: int
) -> tuple[list[Item], list[NDArray[np.uint8]]]:
    """What to generate, and the mask of each; patch k's damage depends on (seed, k) only."""
    places, images = rows.select_columns([name for name in COLUMNS if name != "pre"]), rows.select_columns(["pre"])
    told = captions_of(rows, positions, trained.caption_style) if trained.caption_style != "short" else None
    items, masks = [], []
    for index, position in enumerate(positions):
        row: Mapping[str, Any] = places[position]
        found = invented_damage(row, example_rng(seed, position))
        if found is None:
            continue
        mask, prompt = found

        def read(position: int = position, mask: NDArray[np.uint8] = mask) -> NDArray[np.uint8]:
            return shown_pixels(images[position]["pre"], Image.fromarray(mask), side)

        items.append(Item(position, row["patch_id"], told[index] if told else prompt, lambda: origin, read))
        masks.append(mask)
    return items, masks


def _check_checkpoint(trained: Checkpoint) -> None:
    if trained.condition != "pixels+mask" or "controlnet" not in trained.trained:
        raise GenerateError(
            f"{trained.folder}: trained with model.condition {trained.condition}, so it cannot be told which damage to "
            "draw. Train one with --model.condition pixels+mask."
        )
    if trained.direction == "past":
        raise GenerateError(f"{trained.folder}: trained with data.direction past, it makes no post images.")
    if trained.caption_style not in CAPTIONS:
        raise GenerateError(
            f"{trained.folder}: its captions are of style {trained.caption_style}; invented damage is put into words "
            f"for {' and '.join(CAPTIONS)} only. Train with one of these."
        )


def _check_out(out: Path) -> None:
    """Stop if writing there would touch anything but an earlier run's output."""
    if not out.exists():
        return
    foreign = sorted(path.name for path in out.iterdir() if path.name not in (POST, PRE, MASKS, CARD))
    if foreign:
        raise GenerateError(f"out {out} holds {', '.join(foreign[:3])}, which is not ours. Name another folder.")
    check_folder(out / POST)


def _write_whole(path: Path, image: Image.Image) -> None:
    partial_file = path.with_name(f".{path.name}.partial")
    image.save(partial_file, format="PNG")
    partial_file.replace(path)
