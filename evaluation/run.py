"""Evaluate a trained ControlNet on a split of a built dataset.

On a laptop: `pre2post evaluate --checkpoint runs/first --dataset d256 --limit 8 --out scores`
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from datasets import Dataset

from data.dataset.open import open_dataset
from evaluation.conclude import conclude
from evaluation.errors import EvaluationError
from evaluation.images import make_rows
from evaluation.opened import checkpoint_facts, damage_judge, data_facts, evaluated, listed_patches
from evaluation.options import USUAL_NETWORKS, judging, listed, names_of
from evaluation.output import check_out
from evaluation.patches import without_again
from evaluation.prompts.study import study_prompts
from evaluation.restoring import check_methods
from evaluation.results import METHODS, OF_THE_DATASET, named_rows
from evaluation.words.study import study_words
from generate.checkpoint import open_base, solved
from generate.images.items import Item, patch_items
from generate.processes import everyone, from_main, join_processes, sole_writer
from generate.sampling import PUBLISHED, Sampling

STUDIES = {"prompts": study_prompts, "words": study_words}


def evaluate(
    *,
    checkpoint: Path,
    dataset: Path,
    out: Path,
    split: str = "test",
    events: str = "",
    study: Literal["prompts", "words"] | None = None,
    patches: Path | None = None,
    limit: int | None = None,
    methods: str = "generated,copy,base",
    networks: str = ",".join(USUAL_NETWORKS),
    damage_model: str | None = None,
    caption_style: str | None = None,
    base: str | None = None,
    instruct_pix2pix: str | None = None,
    overwrite: bool = False,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Compare generated post images with the real ones, inside and outside the changed area.

    The generated image, the copied pre image, and the output of the base for the caption and the same initial noise
    without the ControlNet. Writes `report.html` (tables and images), `results.json` (all metrics), `results.tex`
    and `images/`, and prints the tables. Run again after an interruption, it makes missing images only.

    Args:
        checkpoint: A run folder (its newest intact checkpoint), one of its checkpoints/step-*, or `tiny`, which ships.
        dataset: A folder made by `pre2post build`.
        out: The folder to write.
        split: Which split to evaluate on.
        events: Evaluate only patches of these events, separated by commas; by default of all.
        study: Instead, do images follow severity, place and number in `prompts` (docs/prompt-study.md), or do maps of
            damage `words` lie on it (docs/word-maps.md)?
        patches: Evaluate only patches that a file lists, a line each: patch_id, scene_id or image (docs/protocols.md).
        limit: Evaluate only so many patches, evenly spread over the split.
        methods: Rows of the tables. Beside the default: again (a second real post image), sdedit (image to
            image), inpaint (the buildings only), invert (DDIM inversion), diffedit, instruct (InstructPix2Pix). A
            row that does not suit base or dataset is named with the reason.
        networks: Which networks to judge with, separated by commas, or `none`: lpips_vgg, lpips_alex, inception (FID,
            KID, IS), clip, dinov3_sat. Weights are downloaded once, 1.4 GB (dinov3_sat: 1.2 more); else a gap.
        damage_model: Score the damage in every row's images as xView2 does: a folder that `pre2post damage-model` made,
            or FILE.py:FUNCTION for another model (docs/protocols.md).
        caption_style: Style of the captions; by default that of the training.
        base: Where the base is now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        instruct_pix2pix: The weights for the row `instruct`: a diffusers folder or hub id.
        sampling: How the images are sampled, as by `pre2post generate` with the same options.
        overwrite: Evaluate again into a folder that holds a finished evaluation; unchanged images are kept.
    """
    join_processes()
    rows, judged_by = names_of(methods, "methods", METHODS), judging(networks)
    with sole_writer(out):
        from_main(lambda: check_out(out, METHODS, overwrite))
        trained = evaluated(checkpoint, caption_style)
        check_methods(trained, rows, study)
        sampling = solved(sampling, trained)
        settings = checkpoint_facts(trained, base, sampling) | data_facts(dataset, split, events, patches, limit)
        make = partial(make_rows, out, trained, open_base(trained, base), sampling=sampling, overwrite=overwrite)
        if study is not None:
            return STUDIES[study](out, trained, dataset, split, limit, sampling, settings, make, everyone().is_main)
        side, data = sampling.size or trained.resolution, open_dataset(dataset, split)
        names, notes = listed_patches(patches, data, split)
        items = patch_items(dataset, split, trained, side=side, events=listed(events), patches=names, limit=limit)
        judge = damage_judge(damage_model, side, data)
        settings |= {"split_patches": len(data), "damage_model": judge and damage_model}
        rows, absent = _made(make, items, data, rows, instruct_pix2pix)
        if everyone().is_main:
            conclude(
                out, settings, data, dict.fromkeys(rows, items), sampling=sampling, networks=judged_by,
                damage_model=judge, trained={"The checkpoint": trained}, absent=absent, notes=notes,
            )  # fmt: skip


def _made(
    make: Callable[..., dict[str, str]],
    items: list[Item],
    patches: Dataset,
    rows: list[str],
    instruct_pix2pix: str | None,
) -> tuple[list[str], dict[str, str]]:
    """Make the images of the rows; which rows there are, and why others are missing."""
    to_make = [row for row in rows if row not in OF_THE_DATASET]
    absent = make(items, to_make, instruct_pix2pix=instruct_pix2pix)
    if "again" in rows and (lacking := without_again(patches, [item.key for item in items])):
        absent["again"] = f"{lacking} of {len(items)} patches have no second post image"
    present = [row for row in rows if row not in absent]
    if not present:
        raise EvaluationError(f"methods: none of them can be made. {' '.join(named_rows(absent))}")
    return present, absent
