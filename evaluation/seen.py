"""Which scenes something was trained on, according to its own files: no silent score on them (law 12)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.dataset.open import fingerprint, open_dataset
from evaluation.errors import EvaluationError
from models.checkpoint import TrainedOn


def scenes_of(dataset: Path, split: str, leave_out: Sequence[str] = ()) -> set[str]:
    """Every scene of a split, except for events that were left out."""
    return set(open_dataset(dataset, split, leave_out)["scene_id"][:])


def trained_scenes(trained_on: TrainedOn, dataset: Path) -> set[str]:
    """The scenes of a dataset that weights have seen; empty if they have seen other datasets only.

    Args:
        trained_on: as in `Checkpoint.trained_on`.
        dataset: to be measured on. The same places built with other settings are another dataset.
    """
    print_ = fingerprint(dataset)
    trainings = [one for one in (trained_on, *trained_on.get("earlier", [])) if print_ in one["datasets"]]
    return {scene for one in trainings for scene in scenes_of(dataset, one["split"], one["leave_out"])}


def shown_by(facts: Mapping[str, Any]) -> TrainedOn:
    """What `model.json` or `synthetic.json` says about the places it was made from, in the form of `trained_scenes`."""
    return {"datasets": [facts["dataset_fingerprint"]], "split": facts["split"], "leave_out": []}


def seen_by_model(card: Mapping[str, Any], dataset: Path) -> set[str]:
    """The scenes of a dataset that a damage model was trained on, in real or synthetic pairs."""
    parts = [part for part in (card, card.get("synthetic")) if part and {"dataset_fingerprint", "split"} <= part.keys()]
    return {scene for part in parts for scene in trained_scenes(shown_by(part), dataset)}


def check_unseen(test: Collection[str], where: str, seen: Mapping[str, Collection[str]]) -> None:
    """Stop if a score would include scenes that something was trained on.

    Args:
        test: scenes to score on.
        where: they come from, with the option that names it.
        seen: what was trained on or made from scenes -> those scenes.

    Raises:
        EvaluationError: there are such scenes.
    """
    for what, scenes in seen.items():
        if both := sorted(set(test) & set(scenes)):
            raise EvaluationError(
                f"{where}: {len(both):,} of its {len(set(test)):,} scenes are also {what}, first {both[0]}. A score on "
                "them measures memorisation, not performance in new places. Name another split."
            )


def note_of_seen(measured: Collection[str], what: str, scenes: Collection[str]) -> list[str]:
    """A sentence for the report if the images measured are of scenes that something was trained on."""
    both = set(measured) & set(scenes)
    if not both:
        return []
    return [
        f"{what} was trained on {len(both):,} of the {len(set(measured)):,} scenes evaluated here: the scores measure "
        "memorisation, not performance in new places."
    ]
