"""Measure a trained ControlNet on a split of a built dataset.

On a laptop: `pre2post evaluate --checkpoint runs/first --dataset d256 --limit 8 --out scores`
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from data.dataset import fingerprint, open_dataset
from evaluation.columns import METRICS, NETWORK_METRICS
from evaluation.damage_fidelity import check_scale, fidelity_notes
from evaluation.damage_model import load_damage_model
from evaluation.errors import EvaluationError
from evaluation.json_file import write_results
from evaluation.judges import Judges, summon_judges
from evaluation.latex import write_latex
from evaluation.measure import measure
from evaluation.networks import NETWORKS
from evaluation.output import IMAGES, REPORT, check_out
from evaluation.patches import patches_at
from evaluation.report import write_report
from evaluation.results import METHODS, Evaluation, PatchResult
from evaluation.table import render
from generate.items import Item, patch_items
from generate.make import make_images, tasks_of
from generate.pipeline import Checkpoint, load_generator, open_base, open_checkpoint
from generate.processes import join_processes
from generate.prompts import check_prompts
from generate.sampling import PUBLISHED, Sampling
from generate.scene import windowing

# Rows that are generated -> how; zero residuals leave the base's prediction as it is, so it needs no way of its own.
GENERATED_BY = {"generated": "controlnet", "base": "controlnet", "sdedit": "sdedit", "inpaint": "inpaint"}


def evaluate(
    *,
    checkpoint: Path,
    dataset: Path,
    out: Path,
    split: str = "test",
    limit: int | None = None,
    methods: str = "generated,copy,base",
    networks: str = ",".join(NETWORKS),
    damage_model: Path | None = None,
    base: str | None = None,
    sampling: Sampling = PUBLISHED,
    overwrite: bool = False,
) -> None:
    """Measure generated post images against the real ones, inside and outside the changed area.

    Compares answers to "what will this place look like?": the generated image, the pre image copied as it is, and what
    the base makes of the caption and the same start noise without the ControlNet. Writes `report.html` (tables and
    pictures), `results.json` (every number, per patch too), `results.tex` (the tables for a paper) and `images/`, and
    prints the tables. Run it again after an interruption and it makes only the images that are missing. Takes the
    captions of the style the checkpoint was trained with.

    Args:
        checkpoint: A run folder (its newest intact checkpoint is meant) or one of its checkpoints/step-*.
        dataset: A folder made by `pre2post build`.
        out: The folder to write.
        split: Which split to measure on.
        limit: Measure only so many patches, evenly spread over the split.
        methods: Rows of the tables, separated by commas; beside those of the default there are two kinds of editing
            that need no training: sdedit (image to image) and inpaint (redraws the buildings only).
        networks: Which networks to judge with, separated by commas, or `none`: lpips_vgg, lpips_alex, inception (FID,
            KID, IS), clip. About 1.4 GB of weights are downloaded once; one that cannot be had leaves a gap.
        damage_model: A folder made by `pre2post damage-model`: score the damage in every row's images as in the xView2
            challenge.
        base: Where the base lies now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        sampling: How the images are sampled, as by `pre2post generate` with the same options.
        overwrite: Measure again into a folder that holds a finished evaluation; images that would come out the same
            are kept.
    """
    state = join_processes()
    rows = _names(methods, "methods", METHODS)
    judged_by = [] if networks == "none" else _names(networks, "networks", NETWORKS)
    check_out(out, overwrite)
    trained = open_checkpoint(checkpoint)
    if trained.direction == "past":
        raise EvaluationError(
            f"{trained.folder}: trained with data.direction past, it makes pre images; the measures here compare post "
            "images. Look at what it makes with pre2post generate."
        )
    side = sampling.size or trained.resolution
    told_by = load_damage_model(damage_model) if damage_model else None
    items = patch_items(dataset, split, trained, side=side, limit=limit)
    patches = open_dataset(dataset, split)
    if told_by:
        check_scale(told_by, side, int(patches[0]["size"]))
    _make(out, trained, items, rows, base, sampling, overwrite)
    if not state.is_main_process:
        return
    load = partial(patches_at, patches, resolution=side)
    found = load([item.key for item in items], [item.prompt for item in items])
    seeds = [[sampling.image_seed(item.key, sample) for sample in range(sampling.samples)] for item in items]
    judges = summon_judges(judged_by)
    judges.damage = told_by
    results = measure(out, found, len(items), rows, seeds, judges)
    settings = _provenance(trained, base, dataset, split, sampling)
    settings |= {"split_patches": len(patches), "damage_model": str(damage_model) if damage_model else None}
    evaluation = _concluded(settings, results, judges)
    write_report(out, evaluation, load)
    write_latex(out, evaluation)
    write_results(out, evaluation)  # last: its presence says that all is there
    print(render(evaluation))
    print(f"Look at {out / REPORT}")


def _make(
    out: Path,
    trained: Checkpoint,
    items: Sequence[Item],
    methods: Sequence[str],
    base: str | None,
    sampling: Sampling,
    overwrite: bool,
) -> None:
    """Generate what is missing, each method into a folder of its own."""
    parts = open_base(trained, base)
    prompts = [item.prompt for item in items]
    check_prompts(parts.load_tokenizer(), prompts, chunks=trained.text_chunks, captions=True)
    load = cache(partial(load_generator, trained, parts, sampling.scheduler))
    windows = windowing(sampling.size or trained.resolution, None, 0.5)
    for method in methods:
        if method == "copy":
            continue
        how = replace(sampling, control_scale=0.0) if method == "base" else sampling
        facts = trained.described() | how.described(trained.resolution) | {"watermark": False}
        tasks = tasks_of(items, how, facts, GENERATED_BY[method])
        folder = out / IMAGES / method
        make_images(tasks, folder, load, how, windows, watermark=False, overwrite=overwrite, what=method)


def _concluded(settings: dict[str, Any], results: list[PatchResult], judges: Judges) -> Evaluation:
    """Tie the numbers of the patches and of the sets together, and name what is missing."""
    notes = [*judges.explain(len(results)), *_not_a_number(results)]
    sets = {method: judges.sets(method) for method in results[0].scores}
    evaluation = Evaluation(settings, results, sets, judges.gaps, notes)
    return replace(evaluation, notes=[*notes, *fidelity_notes(evaluation)]) if judges.damage else evaluation


def _not_a_number(results: Sequence[PatchResult]) -> list[str]:
    """Images of which a network said NaN; they are left out of its mean."""
    notes = []
    for metric in NETWORK_METRICS:
        broken = [
            f"{patch.patch_id} ({method})"
            for patch in results
            for method, samples in patch.scores.items()
            if any(math.isnan(values["whole"].get(metric, 0.0)) for values in samples)
        ]
        if broken:
            name = METRICS[metric].name
            notes.append(
                f"{name} is no number for {len(broken)} images, first {broken[0]}; they are left out of its mean."
            )
    return notes


def _names(text: str, option: str, known: Iterable[str]) -> list[str]:
    """The names of a list separated by commas, in the order of `known`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"{option}: there is no {name!r}. Choose from {', '.join(known)}, separated by commas."
            )
    return [name for name in known if name in names]


def _provenance(trained: Checkpoint, base: str | None, dataset: Path, split: str, sampling: Sampling) -> dict[str, Any]:
    return {
        **trained.described(),
        "base": base or trained.base,
        "resolution": trained.resolution,
        "caption_style": trained.caption_style,
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "split": split,
        **sampling.described(trained.resolution),
        "seed": sampling.seed,
        "samples": sampling.samples,
    }
