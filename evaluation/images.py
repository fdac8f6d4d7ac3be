"""The images of an evaluation: every row to be generated, in a folder of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from evaluation.output import IMAGES, forget_results
from generate.checkpoint import Checkpoint
from generate.editing.methods import METHODS, load_networks, misfit, networks_of
from generate.generator import Generator
from generate.images.items import Item
from generate.make import make_images, tasks_of
from generate.processes import from_main
from generate.prompts import check_prompts
from generate.sampling import Sampling
from generate.scenes.scene import windowing
from models import Base, BaseError, load_base

TRAINED = "controlnet"  # how all other rows are generated
# Zero residuals leave the base's prediction unchanged, so it needs no own method.
GENERATED_BY = {"base": TRAINED} | {name: name for name in METHODS}


def make_rows(
    out: Path,
    trained: Checkpoint,
    parts: Base,
    items: Sequence[Item],
    rows: Sequence[str],
    *,
    instruct_pix2pix: str | None = None,
    sampling: Sampling,
    overwrite: bool,
    words: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Generate what is missing.

    Args:
        out: folder of the evaluation.
        trained: the checkpoint.
        parts: its base.
        items: what to generate.
        rows: of GENERATED_BY, or any name for the images of the checkpoint.
        instruct_pix2pix: folder or hub id of the weights of that row.
        sampling: how.
        overwrite: replace images that were made with other settings.
        words: prompt -> its words that get maps.

    Returns:
        row -> why it cannot be generated; the same in every process.
    """
    prompts = [item.prompt for item in items]
    check_prompts(parts.load_tokenizer(), prompts, chunks=trained.text_chunks, captions=True)
    instruct_parts, absent = _open_instruct(instruct_pix2pix) if "instruct" in rows else (None, {})
    windows = windowing(sampling.size or trained.resolution, None, 0.5)

    @lru_cache(maxsize=1)  # never two sets of networks in memory
    def load(networks: str) -> Generator:
        return load_networks(networks, trained, parts, instruct_parts, sampling)

    if overwrite:
        from_main(lambda: forget_results(out))
    for row in rows:
        method = GENERATED_BY.get(row, TRAINED)
        if row not in absent and (reason := misfit(method, items, parts, instruct_parts, sampling)):
            absent[row] = reason
        if row in absent:
            continue
        how = replace(sampling, control_scale=0.0) if row == "base" else sampling
        facts = trained.described() | how.described(trained.resolution) | {"watermark": False}
        if method == "instruct" and instruct_parts:
            facts["instruct_unet_sha256"] = instruct_parts.weights_hash("unet")
        tasks = tasks_of(items, how, facts, method, words)
        make = partial(load, networks_of(method))
        make_images(tasks, out / IMAGES / row, make, how, windows, watermark=False, overwrite=overwrite, what=row)
    return absent


def _open_instruct(name: str | None) -> tuple[Base | None, dict[str, str]]:
    try:
        return (load_base(name, instruct=True) if name else None), {}
    except BaseError as error:
        return None, {"instruct": str(error)}
