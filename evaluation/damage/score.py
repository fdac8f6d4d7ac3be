"""The score of the xView2 challenge: are buildings localised, and is their damage classified correctly?

    score        = 0.3 x localisation F1 + 0.7 x damage F1
    damage F1    = 4 / sum over the classes of 1 / (F1 + 0.000001)

Pixels are counted over all images before any F1 is taken. Damage is judged on pixels of assessable buildings only, and
those not found count as missed. An un-classified building (255) is a building to be found, and its damage is
not judged: the official targets have 1 there for localisation and 0 for damage.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data.schema import DAMAGE_VALUES
from evaluation.estimate import Estimate, draws, interval, numbered

CLASSES = tuple(name for name in DAMAGE_VALUES if name != "un-classified")
JUDGED = ("localisation", *CLASSES)  # rows of counts
ERRORS = ("tp", "fp", "fn")  # columns of counts
SCORES = ("score", "localisation_f1", "damage_f1", *(f"{name}_f1" for name in CLASSES))
EPSILON = 1e-6  # of the official script
LOCALISATION_WEIGHT, DAMAGE_WEIGHT = 0.3, 0.7

Counts = NDArray[np.int64]  # (..., 5, 3): JUDGED by ERRORS
Floats = NDArray[np.float64]


def count(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """Right and wrong pixels of one image or of several together.

    Args:
        predicted: any shape: 0 no building, 1 to 4 its damage class.
        truth: same shape, DAMAGE_VALUES: also 255, a building whose damage is not known.

    Returns:
        (5, 3): localisation and the four classes, by true positives, false positives, false negatives.
    """
    assessable = (truth >= 1) & (truth <= len(CLASSES))
    pairs = [(predicted > 0, truth > 0)]
    pairs += [(assessable & (predicted == DAMAGE_VALUES[name]), truth == DAMAGE_VALUES[name]) for name in CLASSES]
    return np.array([[(p & t).sum(), (p & ~t).sum(), (~p & t).sum()] for p, t in pairs], np.int64)


def f1(counts: Counts | Floats) -> Floats:
    """2 TP / (2 TP + FP + FN); 0 without true positives, as in the official script."""
    tp, fp, fn = (counts[..., i].astype(np.float64) for i in range(3))
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def official(counts: Counts | Floats) -> dict[str, Floats]:
    """Every number of the challenge from counts summed over all images; leading axes are kept."""
    each = f1(counts)
    classes = {f"{name}_f1": each[..., 1 + i] for i, name in enumerate(CLASSES)}
    damage = len(CLASSES) / (1 / (each[..., 1:] + EPSILON)).sum(axis=-1)
    score = LOCALISATION_WEIGHT * each[..., 0] + DAMAGE_WEIGHT * damage
    return {"score": score, "localisation_f1": each[..., 0], "damage_f1": damage, **classes}


def estimate_scores(per_patch: Counts, clusters: Sequence[str]) -> dict[str, Estimate]:
    """The score over some patches, with a bootstrap over their scenes.

    Args:
        per_patch: (patches, 5, 3).
        clusters: (patches,) the scene of each.
    """
    if not len(per_patch):
        return dict.fromkeys(SCORES, Estimate(math.nan))
    of_scenes, number = summed(per_patch, clusters), len(set(clusters))
    drawn = official(np.tensordot(draws(number), of_scenes, axes=1))
    return {
        name: Estimate(float(value), *interval(drawn[name], number), len(per_patch), number)
        for name, value in official(per_patch.sum(axis=0)).items()
    }


def summed(per_patch: Counts, clusters: Sequence[str]) -> Counts:
    """(clusters, 5, 3): counts added up over the patches of each cluster, in the order of their names."""
    groups, number = numbered(clusters)
    found = np.zeros((number, *per_patch.shape[1:]), np.int64)
    np.add.at(found, groups, per_patch)
    return found
