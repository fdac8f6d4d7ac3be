"""Generate post-disaster images from a trained ControlNet.

On a laptop: `pre2post generate --checkpoint runs/first --pre patch.png --prompt 'after a flood' --out images`
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
from tqdm import tqdm

from data.dataset import open_dataset
from generate.errors import GenerateError
from generate.items import Item, batched, captions_of, image_item, patch_items, spread
from generate.output import ImageFolder, check_folder
from generate.pipeline import (
    Checkpoint,
    Pipeline,
    Pixels,
    check_steps,
    generate_images,
    load_generator,
    open_checkpoint,
    show_step,
)


def generate(
    *,
    checkpoint: Path,
    pre: Path,
    out: Path,
    split: str = "test",
    prompt: str | None = None,
    caption_style: str | None = None,
    base: str | None = None,
    seed: int = 0,
    steps: int = 50,
    guidance_scale: float = 1.0,
    control_scale: float = 1.0,
    batch_size: int = 8,
    limit: int | None = None,
    overwrite: bool = False,
) -> None:
    """Generate post-disaster images from pre-disaster ones; a checkpoint of direction `past` makes pre from post.

    Writes one PNG per pre image and `manifest.jsonl`, which says how each was made. The same command gives the same
    images: the start noise of image k comes from `torch.Generator("cpu").manual_seed(seed + k)`, where k is 0 for a
    single image and the position in the split for a patch, whatever the batch size, limit and device.

    Args:
        checkpoint: A run folder (its newest intact checkpoint is meant) or one of its checkpoints/step-*.
        pre: The pre-disaster image, a square PNG or JPEG at the ground resolution of the training patches;
            or a folder made by `pre2post build`.
        out: The folder to write; new or empty, unless --overwrite.
        split: Which split of a dataset.
        prompt: What the new image shows. Needed for a single image; for a dataset it replaces all captions.
        caption_style: Which captions of a dataset to use; by default the style of the training.
        base: Where the base lies now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        seed: Start of the random numbers.
        steps: Denoising steps of the DDIM sampler.
        guidance_scale: Classifier-free guidance: how much the caption is stressed. 1 adds nothing, is twice as fast,
            and is how the published xBD models are measured; higher values give stronger, more contrasted damage.
        control_scale: Factor on what was trained (ControlNet, LoRA). 1 as trained, 0 the base alone.
        batch_size: Images generated at once; changes speed and memory only.
        limit: Generate only so many patches, evenly spread over the split.
        overwrite: Replace the images of an earlier run in the same folder.
    """
    check_folder(out, overwrite)
    trained = open_checkpoint(checkpoint)
    total, items = _items(trained, pre, split, prompt, caption_style, seed, limit)
    batches = batched(items, batch_size)
    first = next(batches)  # what is wrong with the inputs shows before the networks are loaded
    pipeline = load_generator(trained, base)
    check_steps(pipeline, steps)
    sampling = {"steps": steps, "guidance_scale": guidance_scale, "control_scale": control_scale}
    with ImageFolder(out, overwrite) as folder, tqdm(total=total, desc="generate", unit="image") as bar:
        for batch in chain([first], batches):
            images = _generate_batch(pipeline, batch, sampling, bar)
            for item, image in zip(batch, images, strict=True):
                made = {"prompt": item.prompt, "seed": item.seed, **_provenance(trained, base), **sampling}
                folder.add(item.name, image, made)
            bar.update(len(batch))
    print(f"{total} image{'s' * (total != 1)} in {out}")


def _generate_batch(pipeline: Pipeline, batch: list[Item], sampling: dict[str, Any], bar: "tqdm[Any]") -> Pixels:
    return generate_images(
        pipeline,
        [item.pre for item in batch],
        [item.prompt for item in batch],
        [item.seed for item in batch],
        **sampling,
        on_step=partial(show_step, bar, sampling["steps"], ""),
    )


def _items(
    trained: Checkpoint,
    pre: Path,
    split: str,
    prompt: str | None,
    caption_style: str | None,
    seed: int,
    limit: int | None,
) -> tuple[int, Iterator[Item]]:
    """How many images, and each as it is needed."""
    if not pre.is_dir():
        return 1, iter([image_item(pre, prompt, seed, trained.resolution)])
    dataset: datasets.Dataset = open_dataset(pre, split)
    positions = spread(len(dataset), limit)
    if prompt is None:
        target = "pre" if trained.direction == "past" else "post"
        prompts = captions_of(dataset, positions, caption_style or trained.caption_style, target)
    else:
        prompts = [prompt] * len(positions)
    if not positions:
        raise GenerateError(f"{pre}: split {split} is empty. Name another with --split.")
    return len(positions), patch_items(dataset, positions, prompts, seed, trained)


def _provenance(trained: Checkpoint, base: str | None) -> dict[str, Any]:
    return {
        "checkpoint": str(trained.folder),
        "step": trained.step,
        "weights": "ema" if trained.weights.name == "ema" else trained.trained,
        "base": base or trained.base,
        "resolution": trained.resolution,
    }
