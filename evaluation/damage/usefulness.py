"""Do synthetic pairs help? Damage models trained on real, synthetic and both, tested on real pairs.

    pre2post usefulness --dataset d_ours --synthetic synthetic --out useful

docs/usefulness.md explains which conclusions it supports.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.dataset.open import fingerprint, open_dataset, read_manifest
from data.disk import look
from data.documents import Count, read_document
from data.errors import BusyError
from data.examples.sampler import view_of
from data.storage import locked, sha256, write_text
from data.strict_json import as_json
from evaluation.damage.examples import Source, footprints_only, of_scenes, real_source
from evaluation.damage.judge import kept_by
from evaluation.damage.model import WEIGHTS, DamageCard, read_card, score_pairs
from evaluation.damage.score import ERRORS, JUDGED, Counts, official, summed
from evaluation.damage.synthetic import read_synthetic, seen_by_synthetic, synthetic_source
from evaluation.damage.table import Score, usefulness_tables
from evaluation.damage.training import (
    VALIDATION,
    described,
    labelled,
    rows_of_event,
    train_damage_model,
    validation_source,
)
from evaluation.errors import EvaluationError
from evaluation.options import DEFAULT, Training
from evaluation.seen import check_unseen, seen_by_model
from generate.processes import join_processes

TRAININGS, TABLE = "trainings", "usefulness.md"
Triple = Annotated[list[Count], Field(min_length=len(ERRORS), max_length=len(ERRORS))]
Scene = Annotated[list[Triple], Field(min_length=len(JUDGED), max_length=len(JUDGED))]


class Result(TypedDict):
    """The fields that are read from the file of a training."""

    settings: dict[str, Any]
    counts: NotRequired[Annotated[list[Scene], Field(min_length=1)]]


RESULTS = TypeAdapter(Result)

Model = tuple[str, int, int]  # arm, number of labelled scenes, seed

# What a model is trained on; each part has the same share of the pairs.
ARMS = (
    "real", "real + footprints", "real + synthetic", "real + judged", "synthetic", "judged", "others", "real + others"
)  # fmt: skip


def usefulness(
    *,
    dataset: Path,
    synthetic: Path,
    out: Path,
    others: Path | None = None,
    judge: Path | None = None,
    false_rejection: float = 0.05,
    event: str | None = None,
    scenes: str = "5,20,80",
    seeds: str = "0,1,2,3,4",
    split: str = "train",
    test_split: str = "test",
    training: Training = DEFAULT,
) -> None:
    """Measure the benefit of synthetic pairs for a damage model when labelled scenes are scarce.

    For every seed, draws some labelled scenes of the dataset (smaller sets are nested in larger ones), trains models
    on them alone, with synthetic pairs, and on synthetic pairs alone, and scores each as in the xView2 challenge on the
    real pairs of the test split. `real + footprints` also learns from the footprints in the pre images of the synthetic
    pairs, but from no generated image: any gain over it is due to the generated images. Every model takes the same
    number of steps, or as many as its validation loss needs (`--patience`). Writes a result per model under
    `trainings/` and the table `usefulness.md`; run it again after an interruption and only the missing models are
    trained. The same command at the same time, once per GPU, shares them out.

    Args:
        dataset: A folder made by `pre2post build`: the events that are to be mapped.
        synthetic: A folder made by `pre2post synthesize`, best of the same places, or a set of `pre2post region`.
        out: The folder to write.
        others: A built dataset of the labelled pairs that the ControlNet was trained on. Whoever has them can train
            on them directly, so this is what the synthetic pairs must improve on.
        judge: A folder made by `pre2post damage-model`, of other scenes: one more row for the synthetic pairs that it
            keeps, by thresholds from the validation split.
        false_rejection: Share of real pairs that the judge may reject.
        event: Only scenes of this event of the dataset are labelled, validated and tested on; others leave it out, with
            the events on its ground. The ControlNet must have left it out too.
        scenes: How many labelled scenes, separated by commas.
        seeds: Of the scenes drawn, of weights and of examples, separated by commas; at least 5 for an interval.
        split: Where the labelled scenes are drawn from.
        test_split: Where the models are tested, on scenes that nothing was trained on; at least 5 for an interval.
        training: How they are trained.
    """
    if not join_processes().is_main_process:
        return  # one process does it all
    counts, draws = _numbers(scenes, "scenes"), _numbers(seeds, "seeds")
    look(out)
    card = read_synthetic(synthetic)
    shape = DamageCard(training.width, card["resolution"], card["patch_px"])
    pairs = _pairs(dataset, synthetic, others, event, split, test_split, shape.resolution)
    _check_scenes(pairs.real, max(counts), f"{dataset}, split {split}")
    validation = validation_source(dataset, shape.resolution, event) if training.patience or judge else None
    if judge and validation:
        pairs.fixed["judged"] = _judged(judge, pairs, validation, shape, false_rejection, dataset)
    check_unseen(pairs.test.scenes, f"{dataset}, --test-split {test_split}", pairs.seen)
    for source in filter(None, (pairs.real, *pairs.fixed.values(), validation, pairs.test)):
        print(described(source))
    settings = {"dataset": [fingerprint(dataset), split, test_split], "synthetic": card, **vars(training)}
    settings |= _named(others, event, judge, false_rejection)

    def scored(arm: str, count: int, seed: int, path: Path) -> Counts:
        parts = pairs.of_arm(arm, count, seed)
        return _counts(path, parts, pairs.test, validation, shape, training, seed, settings)

    models = [(arm, count, seed) for seed, (arm, count) in product(draws, planned(counts, pairs.fixed))]
    found = _shared_out(models, out / TRAININGS, scored)
    text = usefulness_tables([Score(*model, found[model]) for model in models])
    write_text(out / TABLE, text)
    print(text)


@dataclass(frozen=True)
class Pairs:
    """What models are trained and tested on."""

    real: Source  # of which some scenes are drawn
    fixed: dict[str, Source]  # the other parts of the arms, used in full
    test: Source
    seen: dict[str, Collection[str]]  # what was done with scenes -> the scenes

    def of_arm(self, arm: str, count: int, seed: int) -> list[Source]:
        """The parts of an arm, with `count` labelled scenes."""
        parts = self.fixed | {"real": of_scenes(self.real, drawn_scenes(self.real.scenes, count, seed))}
        return [parts[part] for part in arm.split(" + ")]


def _pairs(
    dataset: Path, synthetic: Path, others: Path | None, event: str | None, split: str, test_split: str, resolution: int
) -> Pairs:
    rows = rows_of_event(open_dataset(dataset, split), event)
    real = labelled(real_source(rows, resolution), f"{dataset}, split {split}")
    made = synthetic_source(synthetic, resolution, int(rows[0]["size"]))
    fixed = {"synthetic": made, "footprints": footprints_only(made)}
    if others is not None:
        left_out = [event] if event and event in read_manifest(others)["events"] else []
        pairs = real_source(open_dataset(others, "train", left_out), resolution, "others")
        fixed["others"] = labelled(pairs, f"{others}, split train")
    test_rows = rows_of_event(open_dataset(dataset, test_split), event)
    test = labelled(real_source(test_rows, resolution, "test"), str(dataset))
    seen: dict[str, Collection[str]] = {f"trained on (--split {split})": real.scenes}
    seen |= seen_by_synthetic(synthetic, dataset)
    if others is not None and fingerprint(others) == fingerprint(dataset):
        seen[f"trained on (--others {others})"] = fixed["others"].scenes
    return Pairs(real, fixed, test, seen)


def _named(others: Path | None, event: str | None, judge: Path | None, false_rejection: float) -> dict[str, Any]:
    """What identifies the options that may be missing."""
    judged = {"judge": [sha256(judge / WEIGHTS), false_rejection]} if judge else {}
    return {"others": fingerprint(others) if others else None} | judged | ({"event": event} if event else {})


def _judged(
    judge: Path, pairs: Pairs, validation: Source, shape: DamageCard, false_rejection: float, dataset: Path
) -> Source:
    """The synthetic pairs that the judge keeps; what it was trained on counts as seen."""
    trained = {f"trained on by the judge {judge}": seen_by_model(read_card(judge), dataset)}
    check_unseen(validation.scenes, f"{dataset}, split {VALIDATION}", trained)
    pairs.seen.update(trained)
    return kept_by(judge, pairs.fixed["synthetic"], validation, shape, false_rejection)


def _shared_out(
    models: Sequence[Model], folder: Path, scored: Callable[[str, int, int, Path], Counts]
) -> dict[Model, Counts]:
    """The counts of every model, each scored by one process; those that others are training come last."""
    found: dict[Model, Counts] = {}
    for wait in (False, True):
        for arm, count, seed in (model for model in models if model not in found):
            path = folder / f"{arm.replace(' + ', '+')}-{count:03d}-seed{seed}.json"
            with suppress(BusyError), locked(folder, name=f".{path.stem}.lock", wait=wait):
                found[arm, count, seed] = scored(arm, count, seed, path)
    return found


def _counts(
    path: Path,
    sources: list[Source],
    test: Source,
    validation: Source | None,
    shape: DamageCard,
    training: Training,
    seed: int,
    settings: dict[str, Any],
) -> Counts:
    """The counts of a model, which is trained and tested unless its file is there."""
    if (finished := _finished(path, settings)) is not None:
        return finished
    model, facts = train_damage_model(sources, shape, training, seed, path.stem, validation)
    found = summed(score_pairs(model, (read() for read in test.pairs)), test.scenes)
    path.parent.mkdir(parents=True, exist_ok=True)
    scored = {name: float(value) for name, value in official(found.sum(axis=0)).items()}
    result = {"settings": settings, **facts, "scores": scored, "counts": found.tolist()}
    write_text(path, as_json(result))
    return found


def planned(counts: Sequence[int], parts: Collection[str]) -> list[tuple[str, int]]:
    """Every arm with every number of labelled scenes; 0 where no labelled scene takes part."""
    possible = [arm for arm in ARMS if all(part in ("real", *parts) for part in arm.split(" + "))]
    return [(arm, count) for arm in possible for count in (counts if "real" in arm.split(" + ") else (0,))]


def drawn_scenes(scenes: Sequence[str], count: int, seed: int) -> set[str]:
    """`count` random scenes; smaller sets are nested in larger ones."""
    names = sorted(set(scenes))
    return {names[view_of(seed, turn, len(names))] for turn in range(count)}


def _finished(path: Path, settings: dict[str, Any]) -> Counts | None:
    """The counts of an earlier training, scene by scene."""
    if not path.is_file():
        return None
    found = read_document(path, RESULTS, "Delete it: that model is then trained again.", EvaluationError)
    if found["settings"] != settings or "counts" not in found:
        raise EvaluationError(
            f"{path} was trained from other data or in another way, or written before counts were kept for each test "
            "scene. Name another folder with --out."
        )
    return np.array(found["counts"], np.int64)


def _numbers(text: str, option: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise EvaluationError(f"{option} is {text!r}; expected whole numbers separated by commas.") from None
    if found[0] < (1 if option == "scenes" else 0):
        raise EvaluationError(f"{option} is {text!r}; {found[0]} is too small.")
    return found


def _check_scenes(real: Source, most: int, where: str) -> None:
    there = len(set(real.scenes))
    if there < most:
        raise EvaluationError(f"scenes: {most} are requested, but {where} has {there} with damage labels.")
