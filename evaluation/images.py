"""The images of an evaluation: every row to be generated, in a folder of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from evaluation.output import IMAGES, forget_results
from generate.checkpoint import Checkpoint, open_base
from generate.editing.methods import METHODS, load_networks, misfit, networks_of
from generate.generator import Generator
from generate.images.items import Item
from generate.make import make_images, tasks_of
from generate.processes import from_main
from generate.prompts import check_prompts
from generate.sampling import Sampling
from generate.scenes.scene import windowing
from models import Base, BaseError, load_base

# Rows that are generated -> how; zero residuals leave the base's prediction unchanged, so it needs no own method.
GENERATED_BY = {"generated": "controlnet", "base": "controlnet"} | {name: name for name in METHODS}


def make_rows(
    out: Path,
    trained: Checkpoint,
    items: Sequence[Item],
    rows: Sequence[str],
    *,
    base: str | None,
    instruct_pix2pix: str | None = None,
    sampling: Sampling,
    overwrite: bool,
    words: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Generate what is missing.

    Args:
        out: folder of the evaluation.
        trained: the checkpoint.
        items: what to generate.
        rows: of GENERATED_BY.
        base: where the base is now; None = where the training found it.
        instruct_pix2pix: folder or hub id of the weights of that row.
        sampling: how.
        overwrite: replace images that were made with other settings.
        words: prompt -> its words that get maps.

    Returns:
        row -> why it cannot be generated; the same in every process.
    """
    parts = open_base(trained, base)
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
        method = GENERATED_BY[row]
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
