"""Which scenes something was trained on, according to its own files: no silent score on them (law 12)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from data.dataset.open import fingerprint, open_dataset
from evaluation.errors import EvaluationError


class TrainedOn(TypedDict):
    """`Checkpoint.trained_on`."""

    datasets: list[str]
    split: str
    leave_out: list[str]


def scenes_of(dataset: Path, split: str, leave_out: Sequence[str] = ()) -> set[str]:
    """Every scene of a split, except for events that were left out."""
    return set(open_dataset(dataset, split, leave_out)["scene_id"][:])


def trained_scenes(trained_on: Mapping[str, Any], dataset: Path) -> set[str]:
    """The scenes of a dataset that a training used; empty if it used another dataset.

    Args:
        trained_on: `datasets` (fingerprints), `split`, `leave_out`: as in `Checkpoint.trained_on`.
        dataset: to be measured on. The same places built with other settings are another dataset.
    """
    if fingerprint(dataset) not in trained_on["datasets"]:
        return set()
    return scenes_of(dataset, trained_on["split"], trained_on["leave_out"])


def shown_by(facts: Mapping[str, Any]) -> dict[str, Any]:
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
