"""How well a word's map fits where the damage is: pointing game and IoU, and what chance would give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.schema import DAMAGE_VALUES
from evaluation.estimate import Estimate, Floats, weighted_mean

DAMAGED = tuple(DAMAGE_VALUES[name] for name in ("minor-damage", "major-damage", "destroyed"))
UNKNOWN = DAMAGE_VALUES["un-classified"]
# Words of captions, and the damage that each speaks of.
DAMAGE_WORDS = {
    "destroyed": (DAMAGE_VALUES["destroyed"],),
    "major damage": (DAMAGE_VALUES["major-damage"],),
    "minor damage": (DAMAGE_VALUES["minor-damage"],),
    "damage": DAMAGED,
}
# Words of the same captions that speak of no damage: what their maps score is not due to the meaning of a word.
OTHER_WORDS = {"buildings": DAMAGED, "satellite": DAMAGED}
WORDS = DAMAGE_WORDS | OTHER_WORDS
MEASURES = {"hit": "pointing game, %", "iou": "IoU, %"}


@dataclass(frozen=True)
class Score:
    """One map against one region."""

    hit: float  # percent: whether its highest pixel lies in the region; equally high ones share
    iou: float  # percent: of the region with as many of the map's highest pixels


@dataclass(frozen=True)
class Answer:
    """One map of one image."""

    method: str
    network: str
    position: int  # of the patch in the split
    word: str
    sample: int
    score: Score
    chance: Score


def scored(grey: NDArray[np.uint8], region: NDArray[np.bool_], known: NDArray[np.bool_]) -> Score:
    """A map of one word; a map of one value scores what chance gives.

    Args:
        grey: (h, w).
        region: (h, w) where the word's damage is; some of it is known.
        known: (h, w) pixels that count.
    """
    values, truth = grey[known], region[known]
    hit = float(truth[values == values.max()].mean())
    size = int(truth.sum())
    least = np.partition(values, -size)[-size]  # of the `size` highest; pixels of this very value share what is left
    above, level = values > least, values == least
    both = float(truth[above].sum() + (size - above.sum()) * truth[level].mean())
    return Score(100 * hit, 100 * both / (2 * size - both))


def by_chance(region: NDArray[np.bool_], known: NDArray[np.bool_]) -> Score:
    """What a random pixel, and as many random pixels as the region has, score on average."""
    share = float(region[known].mean())
    return Score(100 * share, 100 * share / (2 - share))


@dataclass(frozen=True)
class Row:
    """A word's maps of one network of one method, over all patches whose captions and damage have the word."""

    word: str
    method: str
    network: str
    scores: dict[str, Estimate]  # key of MEASURES
    chance: dict[str, Estimate]
    above_chance: dict[str, Estimate]  # patch by patch
    above_base: dict[str, Estimate]  # of the same patches, the base's UNet; empty for the base itself


def conclude(answers: Sequence[Answer], scenes: Mapping[int, str]) -> list[Row]:
    """Every number, with bootstrap intervals over scenes.

    Args:
        answers: of all methods, patches, words and samples.
        scenes: of the patch at each position.
    """
    grouped: dict[tuple[str, str, str], dict[int, list[Answer]]] = {}
    for answer in answers:
        of = grouped.setdefault((answer.word, answer.method, answer.network), {})
        of.setdefault(answer.position, []).append(answer)
    rows = []
    for (word, method, network), of in grouped.items():
        base = grouped.get((word, "base", "unet"))
        clusters = [scenes[position] for position in of]

        def mean(values: Floats, clusters: Sequence[str] = clusters) -> Estimate:
            return weighted_mean(values, np.ones(len(values)), clusters)

        found, chance = _values(of, "score"), _values(of, "chance")
        less = {} if method == "base" or base is None else _values(base, "score")
        rows.append(
            Row(
                word,
                method,
                network,
                {key: mean(found[key]) for key in MEASURES},
                {key: mean(chance[key]) for key in MEASURES},
                {key: mean(found[key] - chance[key]) for key in MEASURES},
                {key: mean(found[key] - less[key]) for key in less},
            )
        )
    return rows


def _values(of: Mapping[int, Sequence[Answer]], field: str) -> dict[str, Floats]:
    """Measure -> (patches, samples)."""
    return {key: np.array([[getattr(getattr(one, field), key) for one in found] for found in of.values()])
            for key in MEASURES}  # fmt: skip
