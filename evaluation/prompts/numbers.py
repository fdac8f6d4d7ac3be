"""How far prompts are followed: from single answers to numbers with intervals, compared with chance."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from data.captions.layout import COMPASS
from evaluation.estimate import Estimate, weighted_mean
from evaluation.prompts.answers import DIRECTIONS, Answer, turned_away
from evaluation.prompts.grid import NINE, STUDIES

Floats = NDArray[np.float64]
CHANCE_OF_NINE = 100 / len(NINE)  # percent
ByWord = dict[str, list[Answer]]  # word -> its answers, one for each sample


@dataclass(frozen=True)
class Measure:
    """One number that says how far a study's words are followed."""

    study: str
    name: str
    unit: str
    digits: int
    chance: float  # the score of an image that ignores the prompt
    of: Callable[[ByWord], Sequence[float]]  # the answers about one patch -> one value for each sample
    lower_is_better: bool = False


def _per_sample(score: Callable[[dict[str, Answer]], float]) -> Callable[[ByWord], list[float]]:
    return lambda answers: [score(found) for found in _samples(answers)]


def _samples(answers: ByWord) -> Iterator[dict[str, Answer]]:
    """The answers of each sample."""
    for sample in range(len(next(iter(answers.values())))):
        yield {word: found[sample] for word, found in answers.items()}


def _confusion(of: Callable[[dict[str, Answer]], Floats], patches: Iterable[ByWord]) -> Floats:
    return np.asarray(np.mean([of(found) for answers in patches for found in _samples(answers)], axis=0))


def in_order(values: Sequence[float]) -> float:
    """Share of all pairs that rise, 0..1; equal ones count half."""
    pairs = list(combinations(values, 2))
    return sum(1.0 if low < high else 0.5 if low == high else 0.0 for low, high in pairs) / len(pairs)


def _rising(field: str, words: Sequence[str]) -> Callable[[ByWord], list[float]]:
    return _per_sample(lambda found: 100 * in_order([getattr(found[word], field) for word in words]))


def _hits(found: dict[str, Answer], *, relative: bool) -> float:
    """Percent of the nine words in whose cell the difference is largest."""
    return 100 * float(_largest(found, relative=relative).diagonal().mean())


def _largest(found: Mapping[str, Answer], *, relative: bool) -> Floats:
    """(word, cell): 1 in the cell where the difference is largest, in equal ones a share of it.

    Relative: each cell against its own mean over the nine words, so that a place where every word draws its damage
    (the houses stand there) does not decide.
    """
    cells = np.array([found[word].cells for word in NINE])  # (word, cell)
    sums = cells.sum(axis=1, keepdims=True)
    shares = np.divide(cells, sums, out=np.zeros_like(cells), where=sums > 0)
    if relative:
        shares -= shares.sum(axis=0) / max(1, int((sums > 0).sum()))
    shares[sums[:, 0] == 0] = 0  # an image in which nothing differs hits by chance
    largest = shares == shares.max(axis=1, keepdims=True)
    return np.asarray(largest / largest.sum(axis=1, keepdims=True))


def _above(field: str, words: Sequence[str], found: Mapping[str, Answer]) -> Floats:
    """(word, word): 1 where the first has more of it than the second, 0.5 where it has as much."""
    values = np.array([getattr(found[word], field) for word in words])
    return np.asarray((np.sign(values[:, None] - values) + 1) / 2)


def _angle(found: dict[str, Answer]) -> float:
    """Mean angle between the word and the direction of the difference, degrees."""
    return float(np.mean([turned_away(word, found[word].east, found[word].north) for word in COMPASS]))


def _pull(found: dict[str, Answer]) -> float:
    """Mean shift of the difference's centroid towards the word, percent of the side; what all words share cancels."""
    ways = [np.dot((found[word].east, found[word].north), DIRECTIONS[word]) for word in COMPASS]
    return 100 * float(np.nan_to_num(ways).mean())


MEASURES = {
    "order": Measure("severity", "changed area rises", "% of pairs", 1, 50, _rising("changed", STUDIES["severity"])),
    "order_beyond": Measure(
        "severity", "difference from none rises", "% of pairs", 1, 50, _rising("beyond", STUDIES["severity"][1:])
    ),
    "hit": Measure("position", "hits", "%", 1, CHANCE_OF_NINE, _per_sample(partial(_hits, relative=False))),
    "hit_relative": Measure(
        "position", "hits, cell by cell", "%", 1, CHANCE_OF_NINE, _per_sample(partial(_hits, relative=True))
    ),
    "angle": Measure("position", "angle error", "degrees", 1, 90, _per_sample(_angle), lower_is_better=True),
    "pull": Measure("position", "pull", "% of side", 2, 0, _per_sample(_pull)),
    "count": Measure("count", "number rises", "% of pairs", 1, 50, _rising("buildings", STUDIES["count"])),
}


@dataclass(frozen=True)
class Matrix:
    """How often the words of a study are taken for each other."""

    title: str
    words: Sequence[str]  # of its rows and columns
    of: Callable[[dict[str, Answer]], Floats]  # one sample's answers about a patch -> shares, 0..1


MATRICES = {
    "severity": Matrix(
        "Images of the row that differ more from `none` than those of the column, %",
        STUDIES["severity"][1:],
        partial(_above, "beyond", STUDIES["severity"][1:]),
    ),
    "position": Matrix(
        "Images of the row's word that differ most in the column's cell, cell by cell, %",
        NINE,
        partial(_largest, relative=True),
    ),
    "count": Matrix(
        "Images of the row with more buildings, by regression, than those of the column, %",
        STUDIES["count"],
        partial(_above, "buildings", STUDIES["count"]),
    ),
}


@dataclass(frozen=True)
class Numbers:
    """The results of a study."""

    scores: dict[str, dict[str, Estimate]]  # method -> key of MEASURES
    advantage: dict[str, Estimate]  # key of MEASURES -> generated less base, patch by patch
    curves: dict[str, dict[str, dict[str, Estimate]]]  # method -> field of an answer -> word
    confusion: dict[str, dict[str, Floats]]  # method -> key of MATRICES -> mean share over patches and samples


def conclude(answers: Sequence[Answer], silent: Sequence[str], scenes: Mapping[int, str]) -> Numbers:
    """Every number, with bootstrap intervals over scenes.

    Args:
        answers: of all methods, patches, words and samples.
        silent: studies that cannot be made.
        scenes: of the patch at each position.
    """
    keys = [key for key, measure in MEASURES.items() if measure.study not in silent]
    grouped = _grouped(answers)
    values = {
        method: {key: np.array([MEASURES[key].of(found) for found in of.values()]) for key in keys}
        for method, of in grouped.items()
    }
    both = {"generated", "base"} <= values.keys()
    clusters = [scenes[position] for position in next(iter(grouped.values()))]

    def mean(values: Floats) -> Estimate:
        return weighted_mean(values, np.ones(len(values)), clusters)

    return Numbers(
        scores={method: {key: mean(found) for key, found in of.items()} for method, of in values.items()},
        advantage={key: mean(values["generated"][key] - values["base"][key]) for key in keys} if both else {},
        curves={method: _curves(list(of.values()), mean) for method, of in grouped.items()},
        confusion={
            method: {key: _confusion(one.of, of.values()) for key, one in MATRICES.items() if key not in silent}
            for method, of in grouped.items()
        },
    )


def _grouped(answers: Sequence[Answer]) -> dict[str, dict[int, ByWord]]:
    """Method -> position of the patch -> word -> samples."""
    grouped: dict[str, dict[int, ByWord]] = {}
    for answer in answers:
        of = grouped.setdefault(answer.method, {}).setdefault(answer.position, {})
        of.setdefault(answer.word, []).append(answer)
    return grouped


def _curves(patches: Sequence[ByWord], mean: Callable[[Floats], Estimate]) -> dict[str, dict[str, Estimate]]:
    return {
        field: {
            word: mean(np.array([[getattr(answer, field) for answer in found[word]] for found in patches]))
            for word in patches[0]
        }
        for field in ("changed", "beyond", "east", "north", "buildings")
    }
