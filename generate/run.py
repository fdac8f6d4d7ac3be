"""Generate post-disaster images from a trained ControlNet.

On a laptop: `pre2post generate --checkpoint runs/first --pre patch.png --prompt 'after a flood' --out images`
On many GPUs: `accelerate launch --num_processes 4 -m launch.cli generate ...`
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from data.examples.condition import condition_of
from generate.checkpoint import Checkpoint, open_base, open_checkpoint, solved
from generate.errors import GenerateError
from generate.generator import load_generator
from generate.images.items import Item, file_items, patch_items
from generate.make import Task, make_images, tasks_of
from generate.output import check_folder
from generate.processes import everyone, from_main, join_processes, sole_writer
from generate.prompts import check_prompts
from generate.sampling import MOST_PX, PUBLISHED, Sampling
from generate.scale import window_at
from generate.scenes.scene import windowing
from generate.words.asked import asked_words, words_of
from models import Base


def generate(
    *,
    checkpoint: Path,
    pre: Path,
    out: Path,
    split: str = "test",
    limit: int | None = None,
    prompt: str | None = None,
    mask: Path | None = None,
    caption_style: str | None = None,
    base: str | None = None,
    window: int | None = None,
    overlap: float = 0.5,
    watermark: bool = False,
    word_maps: str | None = None,
    overwrite: bool = False,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Generate post-disaster images from pre-disaster ones; a checkpoint of direction `past` makes pre from post.

    Writes one image per pre image and sample, and `manifest.jsonl`, which records how each was made. The same command
    gives the same images, whatever the batch size, the limit and the number of processes; run again after an
    interruption, it generates only the missing ones. The image of a GeoTIFF is a GeoTIFF on the same grid; patches of a
    dataset are written at the network's resolution.

    Args:
        checkpoint: A run folder (its newest intact checkpoint), one of its checkpoints/step-*, or `tiny`, which ships.
        pre: The pre-disaster image, a PNG, JPEG or GeoTIFF of any size at the ground resolution of the training
            patches; or a .json or .jsonl file that lists several ({"pre": "a.png", "prompt": "..."}); or a folder made
            by `pre2post build`.
        out: The output folder.
        split: Split of a dataset.
        limit: Number of patches of a dataset to generate, evenly spread over the split.
        prompt: Caption of the new image. Required for a single image; for a dataset it replaces all captions.
        mask: The damage to generate in a single image, for checkpoints with condition pixels+mask: an 8-bit grey
            PNG or GeoTIFF of its size with 0 (background), 1 (no damage) to 4 (destroyed), 255 (unknown). For
            checkpoints with condition hole: 255 where it is to be filled, else 0.
        caption_style: Style of the dataset's captions to use; by default that of the training.
        base: Where the base is now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        sampling: How the images are sampled.
        window: Side in image pixels of the window that fills the network's input. By default that of the training
            patches, so that a network pixel covers as much ground as in training.
        overlap: Share of a window that its neighbour also covers, in images larger than one window. Lower is faster,
            higher hides seams better.
        watermark: Overlay the word SYNTHETIC on every image. Its metadata say so regardless.
        word_maps: Words of the prompt, separated by commas, whose attention maps are also written (docs/word-maps.md).
        overwrite: Replace images of the same names made with other settings; all other images stay.
    """
    join_processes()
    with sole_writer(out):
        from_main(lambda: check_folder(out))
        trained = open_checkpoint(checkpoint)
        sampling = solved(sampling, trained)
        side = sampling.size or trained.resolution
        check_options(trained, pre, mask, limit, caption_style)
        if pre.is_dir():
            items = patch_items(pre, split, trained, side=side, limit=limit, prompt=prompt, style=caption_style)
        else:
            window = window or window_at(trained, side)
            items = file_items(pre, prompt, trained, side=side, window=window, mask=mask)
        windows = windowing(side, window, overlap)
        parts, captions = open_base(trained, base), pre.is_dir() and prompt is None
        tasks = tasks_for(
            items, trained, parts, sampling, trained.described(), {"window": window, "overlap": overlap},
            watermark=watermark, word_maps=word_maps, captions=captions,
        )  # fmt: skip
        load = partial(load_generator, trained, parts, sampling)
        make_images(tasks, out, load, sampling, windows, watermark=watermark, overwrite=overwrite)
        if everyone().is_main:
            print(f"{len(tasks)} image{'s' * (len(tasks) != 1)} in {out}")


def tasks_for(
    items: Sequence[Item],
    trained: Checkpoint,
    parts: Base,
    sampling: Sampling,
    facts: Mapping[str, Any],
    scene_facts: Mapping[str, Any],
    *,
    watermark: bool,
    word_maps: str | None,
    captions: bool,
    method: str = "controlnet",
) -> list[Task]:
    """Every image of a run, once its prompts and words are checked.

    Args:
        items: what to generate.
        trained: the checkpoint.
        parts: its base.
        sampling: how images are sampled.
        facts: what identifies the networks, for the manifest.
        scene_facts: how scenes are cut, for the manifest.
        watermark: overlay the word SYNTHETIC.
        word_maps: words that get maps, separated by commas.
        captions: the prompts are a dataset's own.
        method: one of METHODS.

    Raises:
        GenerateError: a prompt is too long, no prompt has a word, or two images would have the same file.
    """
    words = _words(word_maps, items, parts.load_tokenizer(), trained.text_chunks, captions=captions)
    facts = {**facts, **sampling.described(trained.resolution), "watermark": watermark}
    if any(item.scene for item in items):
        facts |= scene_facts
    return tasks_of(items, sampling, facts, method, words)


def _words(
    word_maps: str | None, items: Sequence[Item], tokenizer: CLIPTokenizer, chunks: int, *, captions: bool
) -> dict[str, list[str]] | None:
    """Prompt -> words that get maps. Stops at prompts that are not read whole, and at maps that would be too large."""
    prompts = [item.prompt for item in items]
    check_prompts(tokenizer, prompts, chunks=chunks, captions=captions)
    if word_maps is None:
        return None
    for item in items:
        if item.scene and max(item.scene.height, item.scene.width) > MOST_PX:
            raise GenerateError(
                f"word_maps: {item.name} is {item.scene.width} x {item.scene.height} px; expected at most {MOST_PX:,} "
                "px along a side. Cut the scene, or leave word maps out."
            )
    return words_of(tokenizer, prompts, asked_words(word_maps), chunks)


def check_options(trained: Checkpoint, pre: Path, mask: Path | None, limit: int | None, style: str | None) -> None:
    """Reject options that do not suit the checkpoint or its inputs."""
    condition = condition_of(trained.trained, trained.condition)
    reads_mask = bool(condition.with_mask or condition.with_hole)
    if mask and (pre.is_dir() or not reads_mask):
        why = "a dataset has its own masks" if pre.is_dir() else f"{trained.folder} was trained without masks"
        raise GenerateError(f"--mask is {mask}, but {why}. Omit it.")
    if pre.is_dir():
        return
    for name, value in (("limit", limit), ("caption-style", style)):
        if value is not None:
            raise GenerateError(f"--{name} applies to patches of a dataset only; omit it for images and batch files.")
    if reads_mask and not mask:
        raise GenerateError(
            f"{trained.folder}: trained on {trained.condition}, so it needs a mask. Pass one image with "
            "--mask MASK.png, or a dataset, which has its own masks."
        )
    if trained.sequence > 1:
        raise GenerateError(
            f"{pre}: the checkpoint was trained on {trained.sequence} pre-event images, which only a built dataset has "
            "(docs/sources.md)."
        )
