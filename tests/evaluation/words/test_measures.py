"""Pointing game and IoU by hand, and what chance gives."""

from itertools import combinations

import numpy as np
import pytest

from evaluation.words.measures import Answer, Score, by_chance, conclude, scored

ALL = np.ones((2, 4), np.bool_)
REGION = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], np.bool_)


def numbers(score: Score) -> list[float]:
    """Hit and IoU."""
    return [score.hit, score.iou]


def test_by_hand() -> None:
    """Two pixels of damage; of the two highest one lies on it: 1 of 3. The highest lies on it."""
    grey = np.array([[9, 1, 7, 0], [3, 2, 5, 4]], np.uint8)
    assert numbers(scored(grey, REGION, ALL)) == pytest.approx([100, 100 / 3])
    assert scored(REGION.astype(np.uint8), REGION, ALL) == Score(100, 100)
    assert scored((~REGION).astype(np.uint8), REGION, ALL) == Score(0, 0)


def test_unknown_pixels_do_not_count() -> None:
    """The two highest are of unknown damage; the next two are the damage."""
    grey = np.array([[7, 6, 9, 9], [0, 0, 0, 0]], np.uint8)
    known = ALL.copy()
    known[0, 2:] = False
    assert scored(grey, REGION, known) == Score(100, 100)


def test_equal_pixels_share() -> None:
    """Three equally high ones, one of them on the damage: the two that are taken hold 2/3 of it."""
    grey = np.array([[9, 0, 9, 9], [0, 0, 0, 0]], np.uint8)
    assert numbers(scored(grey, REGION, ALL)) == pytest.approx([100 / 3, 100 * (2 / 3) / (4 - 2 / 3)])


def test_a_map_of_one_value_scores_chance() -> None:
    """And chance is the mean over all pixels, the IoU that of the mean overlap over all pairs of pixels."""
    overlap = np.mean([REGION.ravel()[list(pair)].sum() for pair in combinations(range(8), 2)])
    chance = by_chance(REGION, ALL)
    assert numbers(chance) == pytest.approx([25, 100 * overlap / (4 - overlap)])
    same = scored(np.full((2, 4), 7, np.uint8), REGION, ALL)
    assert numbers(same) == pytest.approx(numbers(chance))


def test_rows_and_their_differences() -> None:
    """Six scenes; generated hits always, the base in half of them, chance in a quarter."""
    answers = [
        Answer(method, network, position, "damage", 0, Score(hit, 50), Score(25, 20))
        for position in range(6)
        for method, network, hit in (
            ("generated", "both", 100.0), ("generated", "unet", 0.0), ("base", "unet", 100.0 * (position % 2))
        )
    ]  # fmt: skip
    rows = {(row.method, row.network): row for row in conclude(answers, {i: f"scene {i}" for i in range(6)})}
    both = rows["generated", "both"]
    assert (both.scores["hit"].value, both.scores["hit"].clusters) == (100, 6)
    assert both.above_chance["hit"].value == 75 and both.above_chance["iou"].value == 30
    assert both.above_base["hit"].value == 50 and both.above_base["hit"].low < 50 < both.above_base["hit"].high
    assert rows["generated", "unet"].above_base["hit"].value == -50
    assert rows["base", "unet"].above_base == {}
