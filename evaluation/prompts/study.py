"""`pre2post evaluate --study prompts`: a grid of prompts for the same patches and noise, and what the images show.

docs/prompt-study.md has the protocol and results on simulated scenes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets

from data.captions.row import facts_of_row
from data.dataset.open import open_dataset, read_manifest
from data.imagery.pixels import resize_rgb
from evaluation.errors import EvaluationError
from evaluation.output import REPORT
from evaluation.prompts.answers import measure_answers
from evaluation.prompts.buildings import learned
from evaluation.prompts.change import Pixels, calibrated
from evaluation.prompts.grid import STUDIES, Prompt, fits, prompts_of, silent_studies
from evaluation.prompts.numbers import conclude
from evaluation.prompts.report import Study, render, write_study
from evaluation.prompts.truth import real_pairs
from evaluation.seen import note_of_seen, trained_scenes
from generate.checkpoint import Checkpoint
from generate.images.items import Item, patch_items, spread
from generate.sampling import Sampling

MADE = ("generated", "base")  # rows whose images are generated; `copy` is compared with them
FACTS = ["patch_id", "scene_id", "event", "disaster_type", "labels", "size", "pixel_size_m", "buildings"]
PATCHES = 24  # unless --limit says otherwise
CALIBRATION = 128  # patches for the detector and the gauge, and as many of other scenes to test them on
BUILDINGS_LABELLED = ("both", "post", "pre")  # of the column labels
# What a user may request and is not measured, and why. Words that no caption uses cannot have been learned.
UNSAID = {
    "clustered, scattered": "nothing here finds single houses in a generated picture",
    "cloud and haze": "no caption says it, because no label records it",
    "scale": "short captions do not say it, and all patches of a dataset have much the same",
}


def study_prompts(
    out: Path,
    trained: Checkpoint,
    dataset: Path,
    split: str,
    limit: int | None,
    sampling: Sampling,
    settings: dict[str, Any],
    make: Callable[[Sequence[Item], Sequence[str]], object],
    main_process: bool,
) -> None:
    """Make the images that are missing, measure all, write and print.

    Args:
        out: the folder to write.
        trained: the checkpoint.
        dataset: a built dataset; the detector and the gauge learn from its split `train`, and are tested on others.
        split: whose pre images are shown.
        limit: at most this many of the patches that fit, evenly spread; None = PATCHES.
        sampling: how the images are sampled.
        settings: the facts on checkpoint, dataset and sampling in the outputs.
        make: makes the images of some items by some methods below `out`.
        main_process: whether this process measures and writes.

    Raises:
        EvaluationError: no patch fits, or captions of this style say nothing that can be requested.
    """
    side = sampling.size or trained.resolution
    rows = open_dataset(dataset, split)
    prompts = _prompts(rows, trained.caption_style, dataset, split, PATCHES if limit is None else limit)
    first = [prompt for prompt in prompts if prompt.position == prompts[0].position]
    gaps = silent_studies({prompt.word: prompt.text for prompt in first})
    if len(gaps) == len(STUDIES):
        raise EvaluationError(
            f"{trained.folder}: captions of style {trained.caption_style!r} say nothing of severity, place or number. "
            "Name short or placed as --caption-style, and train with them (data.caption_styles)."
        )
    asked = [word for name, words in STUDIES.items() if name not in gaps for word in words]
    prompts = [prompt for prompt in prompts if prompt.word in asked]
    make(_items(prompts, patch_items(dataset, split, trained, side=side, limit=None, prompt="")), MADE)
    if not main_process:
        return
    known, held_out = calibration_rows(dataset, split, rows)
    detector, gauge = calibrated(known, held_out, side), learned(known, held_out, side)

    def pre_of(position: int) -> Pixels:
        return resize_rgb(rows[position]["pre"], side)

    answers = list(measure_answers(out, prompts, pre_of, (*MADE, "copy"), sampling.samples, detector, gauge))
    truth = real_pairs(held_out, side, detector)
    scenes = {prompt.position: rows[prompt.position]["scene_id"] for prompt in prompts}
    notes = note_of_seen(scenes.values(), "The checkpoint", trained_scenes(trained.trained_on, dataset))
    settings = settings | {"patches": len(scenes), "scenes": len(set(scenes.values())), "notes": notes}
    gaps |= UNSAID
    study = Study(settings, prompts, answers, conclude(answers, list(gaps), scenes), gaps, detector, gauge, truth)
    write_study(out, study, pre_of)
    print(render(study))
    print(f"Look at {out / REPORT}")


def _prompts(rows: datasets.Dataset, style: str, dataset: Path, split: str, limit: int) -> list[Prompt]:
    facts = rows.select_columns(FACTS)
    fitting = [position for position, row in enumerate(facts) if fits(facts_of_row(row))]
    if not fitting:
        raise EvaluationError(
            f"{dataset}: no patch of split {split!r} has six labelled buildings spread all over it, which the prompts "
            "speak of. Name another split or dataset."
        )
    chosen = [fitting[i] for i in spread(len(fitting), limit)]
    return [prompt for position in chosen for prompt in prompts_of(position, facts[position], style)]


def _items(prompts: Sequence[Prompt], patches: Sequence[Item]) -> list[Item]:
    """What to generate; all words of a patch start from its own noise."""
    return [replace(patches[prompt.position], name=prompt.name, prompt=prompt.text) for prompt in prompts]


def calibration_rows(dataset: Path, split: str, rows: datasets.Dataset) -> tuple[list[Any], list[Any]]:
    """Labelled patches to calibrate on and those of other scenes to test on.

    The former are of the split `train`, the latter of the study's own. Within one split the
    scenes alternate.
    """
    own = _of_scenes(rows)
    trained = split != "train" and "train" in read_manifest(dataset)["splits"]
    known = open_dataset(dataset, "train") if trained else rows
    if calibrating := _of_scenes(known) if trained else {}:
        return _evenly(known, calibrating, calibrating), _evenly(rows, own, own.keys() - calibrating.keys())
    first = set(sorted(own)[::2])
    return _evenly(rows, own, first), _evenly(rows, own, own.keys() - first)


def _of_scenes(rows: datasets.Dataset) -> dict[str, list[int]]:
    """Scene -> positions of its patches whose buildings are labelled."""
    found: dict[str, list[int]] = {}
    for position, row in enumerate(rows.select_columns(["scene_id", "labels"])):
        if row["labels"] in BUILDINGS_LABELLED:
            found.setdefault(row["scene_id"], []).append(position)
    return found


def _evenly(rows: datasets.Dataset, of_scenes: Mapping[str, Sequence[int]], scenes: Collection[str]) -> list[Any]:
    """CALIBRATION of the patches of some scenes, evenly spread."""
    shown = ["pre", "post", "change_mask", "cover_mask"]  # datasets built before there was any lack the last
    part = rows.select_columns([*FACTS, *(name for name in shown if name in rows.column_names)])
    positions = sorted(position for scene in scenes for position in of_scenes[scene])
    return [part[positions[i]] for i in spread(len(positions), CALIBRATION)]
