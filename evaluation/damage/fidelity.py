"""Is the damage in generated images where it should be? A damage model's prediction from real pre, generated post."""

from collections.abc import Sequence
from itertools import product

import numpy as np

from data.examples.similarity import Pixels
from evaluation.damage.model import DamageModel
from evaluation.damage.outside import OutsideModel
from evaluation.damage.score import CLASSES, ERRORS, JUDGED, Counts, count, estimate_scores
from evaluation.errors import EvaluationError
from evaluation.estimate import Estimate
from evaluation.patches import Patch
from evaluation.results import BEST, REAL, Evaluation, PatchResult, Values

REGION = "damage"  # key of the counts among a patch's values; absent without labels
COUNTED = [f"{what}_{error}" for what, error in product(JUDGED, ERRORS)]


def check_scale(model: DamageModel, resolution: int, patch_px: int) -> None:
    """Stop unless the model was trained on images of this scale."""
    card = model.card
    if (card.resolution, card.patch_px) != (resolution, patch_px):
        raise EvaluationError(
            f"the damage model was trained on patches of {card.patch_px} px shown at {card.resolution} px; here are "
            f"patches of {patch_px} px shown at {resolution} px. Train one: pre2post damage-model --resolution "
            f"{resolution}, on a dataset built with --size {patch_px}."
        )


def damage_counts(
    model: DamageModel | OutsideModel | None, patches: Sequence[Patch], images: Sequence[Pixels]
) -> list[Values]:
    """Counts of the score for each image, under REGION; nothing for a patch without labels.

    Args:
        model: None = none was requested.
        patches: with pre image and labels.
        images: a post image of each.
    """
    found: list[Values] = [{} for _ in patches]
    labelled = [i for i, patch in enumerate(patches) if patch.damage is not None]
    if model is None or not labelled:
        return found
    classes = model.classify([patches[i].pre for i in labelled], [images[i] for i in labelled])
    for i, predicted in zip(labelled, classes, strict=True):
        truth = patches[i].damage
        assert truth is not None
        counts = count(predicted, truth).flatten().tolist()
        found[i] = {REGION: dict(zip(COUNTED, map(float, counts), strict=True))}
    return found


def fidelity(evaluation: Evaluation, patches: Sequence[PatchResult] | None = None) -> dict[str, dict[str, Estimate]]:
    """Row -> every number of the challenge, the real post images last; empty if nothing was judged.

    Counts of several samples are summed. There is no best sample: it would differ from number to number.
    """
    judged = [patch for patch in patches or evaluation.patches if REGION in patch.scores[REAL][0]]
    if not judged:
        return {}
    rows = [row for row in evaluation.rows() if not row.endswith(BEST)]
    clusters = evaluation.clusters(judged)
    return {
        row: estimate_scores(np.stack([_counts(patch, row) for patch in judged]), clusters) for row in (*rows, REAL)
    }


def fidelity_notes(evaluation: Evaluation) -> list[str]:
    """What a reader of the score must know: unlabelled patches, classes that are not there."""
    judged = [patch for patch in evaluation.patches if REGION in patch.scores[REAL][0]]
    notes, missing = [], len(evaluation.patches) - len(judged)
    if missing:
        notes.append(
            f"The damage score leaves out {missing} of {len(evaluation.patches)} patches, which have no labels."
        )
    if not judged:
        return notes
    counts = np.sum([_counts(patch, REAL) for patch in judged], axis=0)
    support = counts[1:, 0] + counts[1:, 2]
    if absent := [name for name, pixels in zip(CLASSES, support, strict=True) if not pixels]:
        notes.append(
            f"No pixel is {' or '.join(absent)} in these patches: by the challenge's definition that F1 is 0 and the "
            "damage F1 next to 0, whatever the images show."
        )
    return notes


def _counts(patch: PatchResult, row: str) -> Counts:
    values = [[sample[REGION][name] for name in COUNTED] for sample in patch.scores[row]]
    counts: Counts = np.sum(values, axis=0).astype(np.int64).reshape(len(JUDGED), len(ERRORS))
    return counts
