"""From the images of all rows to numbers, tables and the report."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from evaluation.columns import METRICS, NETWORK_METRICS
from evaluation.damage.fidelity import fidelity_notes
from evaluation.damage.model import DamageModel, read_card
from evaluation.damage.outside import OutsideModel
from evaluation.metrics.judges import summon_judges
from evaluation.metrics.measure import measure
from evaluation.output import REPORT
from evaluation.patches import patches_at
from evaluation.report.json import write_results
from evaluation.report.latex import write_latex
from evaluation.report.page import write_report
from evaluation.report.terminal import render
from evaluation.restoring import task_of
from evaluation.results import Evaluation, Method, PatchResult, Published
from evaluation.seen import note_of_seen, seen_by_model, trained_scenes
from generate.checkpoint import Checkpoint
from generate.images.items import Item
from generate.sampling import Sampling


def conclude(
    out: Path,
    settings: dict[str, Any],
    patches: Dataset,
    items: Mapping[str, Sequence[Item]],
    *,
    sampling: Sampling,
    networks: Sequence[str],
    damage_model: DamageModel | OutsideModel | None,
    trained: Mapping[str, Checkpoint],
    named: Mapping[str, Method] | None = None,
    absent: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    published: Sequence[Published] = (),
) -> None:
    """Measure the images of all rows, write and print what was found.

    Args:
        out: folder of the evaluation; it holds the images.
        settings: the facts on checkpoints, dataset and sampling in the outputs. `size` is the side of the images that
            are compared, px; larger and smaller ones are resized.
        patches: the split.
        items: row -> what it was made of, the same patches in all. The captions of the first row are shown.
        sampling: how the images were made.
        networks: that judge.
        damage_model: that judges too, ours or somebody else's.
        trained: the checkpoints, by what the report calls them.
        named: what may be measured, if it is not what one checkpoint allows.
        absent: row -> why there is none.
        notes: what a reader of the numbers must know.
        published: numbers of others, to stand beside these.
    """
    judges = summon_judges(networks)
    judges.damage = damage_model
    condition, task, usual = task_of(next(iter(trained.values())))
    load = partial(patches_at, patches, resolution=settings["size"], condition=condition)
    positions = [item.key for item in next(iter(items.values()))]
    prompts = {row: [item.prompt for item in its] for row, its in items.items()}
    seeds = [[sampling.image_seed(key, sample) for sample in range(sampling.samples)] for key in positions]
    results = measure(out, load(positions, next(iter(prompts.values()))), prompts, seeds, judges)
    ours = Path(settings["damage_model"]) if isinstance(damage_model, DamageModel) else None
    said = [*notes, *_seen(results, trained, ours, Path(settings["dataset"]))]
    said += [*judges.explain(len(results)), *_not_a_number(results)]
    sets = {method: judges.sets(method) for method in results[0].scores}
    evaluation = Evaluation(
        settings, results, sets, judges.gaps, said, dict(absent or {}), named=named or usual, task=task,
        published=published,
    )  # fmt: skip
    if judges.damage:
        evaluation.notes.extend(fidelity_notes(evaluation))
    write_report(out, evaluation, load)
    write_latex(out, evaluation)
    write_results(out, evaluation)  # last: its presence marks completion
    print(render(evaluation))
    print(f"Look at {out / REPORT}")


def _seen(
    results: list[PatchResult], trained: Mapping[str, Checkpoint], damage_model: Path | None, dataset: Path
) -> list[str]:
    """Which of the networks have been trained on what is measured."""
    seen = {what: trained_scenes(one.trained_on, dataset) for what, one in trained.items()}
    if damage_model:
        seen["The damage model"] = seen_by_model(read_card(damage_model), dataset)
    measured = {patch.scene_id for patch in results}
    return [note for who, scenes in seen.items() for note in note_of_seen(measured, who, scenes)]


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
