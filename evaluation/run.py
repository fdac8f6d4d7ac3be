"""Evaluate a trained ControlNet on a split of a built dataset.

On a laptop: `pre2post evaluate --checkpoint runs/first --dataset d256 --limit 8 --out scores`
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset

from data.dataset.open import fingerprint, open_dataset
from evaluation.columns import METRICS, NETWORK_METRICS
from evaluation.damage.fidelity import check_scale, fidelity_notes
from evaluation.damage.model import DamageModel, load_damage_model, read_card
from evaluation.errors import EvaluationError
from evaluation.images import make_rows
from evaluation.metrics.judges import Judges, summon_judges
from evaluation.metrics.measure import measure
from evaluation.options import NETWORKS
from evaluation.output import REPORT, check_out
from evaluation.patches import Patch, patches_at, without_again
from evaluation.prompts.study import study_prompts
from evaluation.report.json import write_results
from evaluation.report.latex import write_latex
from evaluation.report.page import write_report
from evaluation.report.terminal import render
from evaluation.results import METHODS, OF_THE_DATASET, Evaluation, PatchResult, named_rows
from evaluation.seen import note_of_seen, seen_by_model, trained_scenes
from evaluation.words.study import study_words
from generate.checkpoint import Checkpoint, open_checkpoint
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
    limit: int | None = None,
    methods: str = "generated,copy,base",
    networks: str = ",".join(NETWORKS),
    damage_model: Path | None = None,
    caption_style: str | None = None,
    base: str | None = None,
    instruct_pix2pix: str | None = None,
    overwrite: bool = False,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Compare generated post images with the real ones, inside and outside the changed area.

    Compares answers to "what will this place look like?": the generated image, the copied pre image, and the output
    of the base for the caption and the same initial noise without the ControlNet. Writes `report.html` (tables
    and images), `results.json` (all metrics, also per patch), `results.tex` (the tables for a paper) and `images/`, and
    prints the tables. Run again after an interruption, it generates only missing images.

    Args:
        checkpoint: A run folder (its newest intact checkpoint is meant) or one of its checkpoints/step-*.
        dataset: A folder made by `pre2post build`.
        out: The folder to write.
        split: Which split to evaluate on.
        events: Evaluate only patches of these events, separated by commas; by default of all.
        study: Instead of comparing with real images, whether they follow severity, place and number in `prompts`
            (docs/prompt-study.md), or whether maps of damage `words` lie on it (docs/word-maps.md).
        limit: Evaluate only so many patches, evenly spread over the split.
        methods: Rows of the tables, separated by commas. In addition to the default: again (a second real post
            image, where the dataset has one), and training-free editing: sdedit (image to image), inpaint (regenerates
            the buildings only), invert (DDIM inversion), diffedit, instruct (InstructPix2Pix). A row that does not suit
            the base or the dataset is reported with the reason.
        networks: Which networks to judge with, separated by commas, or `none`: lpips_vgg, lpips_alex, inception (FID,
            KID, IS), clip. About 1.4 GB of weights are downloaded once; an unavailable one leaves a gap.
        damage_model: A folder made by `pre2post damage-model`: score the damage in every row's images as in the xView2
            challenge.
        caption_style: Style of the captions; by default that of the training.
        base: Where the base is now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        instruct_pix2pix: The weights for the row `instruct`: a diffusers folder or hub id.
        sampling: How the images are sampled, as by `pre2post generate` with the same options.
        overwrite: Evaluate again into a folder that holds a finished evaluation; unchanged images are kept.
    """
    join_processes()
    rows = _names(methods, "methods", METHODS)
    judged_by = [] if networks == "none" else _names(networks, "networks", NETWORKS)
    with sole_writer(out):
        from_main(lambda: check_out(out, overwrite))
        trained = _opened(checkpoint, caption_style)
        settings = _provenance(trained, base, dataset, split, events, sampling)
        make = partial(make_rows, out, trained, base=base, sampling=sampling, overwrite=overwrite)
        if study is not None:
            STUDIES[study](out, trained, dataset, split, limit, sampling, settings, make, everyone().is_main)
            return
        side, patches = sampling.size or trained.resolution, open_dataset(dataset, split)
        items = patch_items(dataset, split, trained, side=side, events=_listed(events), limit=limit)
        judge = _damage_judge(damage_model, side, patches)
        rows, absent = _made(make, items, patches, rows, instruct_pix2pix)
        if everyone().is_main:
            load = partial(patches_at, patches, resolution=side)
            results, judges = _judged(out, items, load, rows, sampling, judged_by, judge)
            settings |= {"split_patches": len(patches), "limit": limit, "damage_model": judge and str(damage_model)}
            notes = _seen(results, trained, damage_model, dataset)
            _write(out, _concluded(settings, results, judges, absent, notes), load)


def _opened(folder: Path, caption_style: str | None) -> Checkpoint:
    """A checkpoint that makes post images, which are measured here."""
    trained = open_checkpoint(folder)
    if trained.direction == "past":
        raise EvaluationError(
            f"{trained.folder}: trained with data.direction past, it makes pre images; the measures here compare "
            "post images. Look at what it makes with pre2post generate."
        )
    return replace(trained, caption_style=caption_style or trained.caption_style)


def _damage_judge(folder: Path | None, side: int, patches: Dataset) -> DamageModel | None:
    """The damage model, if it was trained at the scale of the images."""
    if folder is None:
        return None
    model = load_damage_model(folder)
    check_scale(model, side, int(patches[0]["size"]))
    return model


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


def _judged(
    out: Path,
    items: list[Item],
    load: Callable[..., Iterator[Patch]],
    rows: list[str],
    sampling: Sampling,
    networks: list[str],
    damage_model: DamageModel | None,
) -> tuple[list[PatchResult], Judges]:
    """Measure the images of all rows; the results, and the networks that judged."""
    judges = summon_judges(networks)
    judges.damage = damage_model
    found = load([item.key for item in items], [item.prompt for item in items])
    seeds = [[sampling.image_seed(item.key, sample) for sample in range(sampling.samples)] for item in items]
    return measure(out, found, len(items), rows, seeds, judges), judges


def _seen(results: list[PatchResult], trained: Checkpoint, damage_model: Path | None, dataset: Path) -> list[str]:
    """Which of the networks has been trained on what is measured."""
    seen = {"The checkpoint": trained_scenes(trained.trained_on, dataset)}
    if damage_model:
        seen["The damage model"] = seen_by_model(read_card(damage_model), dataset)
    measured = {patch.scene_id for patch in results}
    return [note for who, scenes in seen.items() for note in note_of_seen(measured, who, scenes)]


def _write(out: Path, evaluation: Evaluation, load: Callable[..., Iterator[Patch]]) -> None:
    write_report(out, evaluation, load)
    write_latex(out, evaluation)
    write_results(out, evaluation)  # last: its presence marks completion
    print(render(evaluation))
    print(f"Look at {out / REPORT}")


def _concluded(
    settings: dict[str, Any], results: list[PatchResult], judges: Judges, absent: dict[str, str], notes: Sequence[str]
) -> Evaluation:
    """Tie the numbers of the patches and of the sets together, and name what is missing."""
    notes = [*notes, *judges.explain(len(results)), *_not_a_number(results)]
    sets = {method: judges.sets(method) for method in results[0].scores}
    evaluation = Evaluation(settings, results, sets, judges.gaps, notes, absent)
    return replace(evaluation, notes=[*notes, *fidelity_notes(evaluation)]) if judges.damage else evaluation


def _not_a_number(results: Sequence[PatchResult]) -> list[str]:
    """Notes on images for which a network returned NaN; they are left out of its mean."""
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
            notes.append(f"{name} is NaN for {len(broken)} images, first {broken[0]}; they are left out of its mean.")
    return notes


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _names(text: str, option: str, known: Iterable[str]) -> list[str]:
    """The names of a list separated by commas, in the order of `known`."""
    names = _listed(text)
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"{option}: there is no {name!r}. Choose from {', '.join(known)}, separated by commas."
            )
    return [name for name in known if name in names]


def _provenance(
    trained: Checkpoint, base: str | None, dataset: Path, split: str, events: str, sampling: Sampling
) -> dict[str, Any]:
    return {
        **trained.described(),
        "base": base or trained.base,
        "resolution": trained.resolution,
        "caption_style": trained.caption_style,
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "split": split,
        "events": events,
        **sampling.described(trained.resolution),
        "seed": sampling.seed,
        "samples": sampling.samples,
    }
