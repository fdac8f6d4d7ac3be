"""Outlines and the choice of patches, by hand."""

import math

import numpy as np

from data.similarity import Score
from evaluation.report_gallery import DRAWN, WORST, choose_random, choose_worst, outline
from evaluation.results import PatchResult


def result(position: int, inside_mse: float) -> PatchResult:
    """A patch with the same numbers under every method."""
    nan = math.isnan(inside_mse)
    scores = {
        "whole": Score(100, 0.5, 3.0, 0.1),
        "inside": Score(0 if nan else 10, inside_mse, inside_mse, inside_mse),
        "outside": Score(90, 0.1, 10.0, 0.1),
    }
    return PatchResult(
        f"p{position}", "wind", position, position, "", dict.fromkeys(("generated", "copy", "base"), scores)
    )


def test_outline_runs_around_the_pixels() -> None:
    """A square of pixels 4 to 7 has its border at 4 and 8, corners cut by half a pixel."""
    mask = np.zeros((12, 12), bool)
    mask[4:8, 4:8] = True
    numbers = [float(part) for part in outline(mask).strip("MZ").replace("L", " ").split()]
    assert (min(numbers), max(numbers)) == (4.0, 8.0)
    assert outline(np.zeros((12, 12), bool)) == ""


def test_outline_of_everything_is_the_edge() -> None:
    """A mask that fills the patch is outlined too."""
    assert outline(np.ones((8, 8), bool))


def test_worst_are_those_with_the_highest_error_inside() -> None:
    """Patches without a changed area are left to the lot."""
    patches = [result(i, mse) for i, mse in enumerate([0.1, math.nan, 0.4, 0.2])]
    assert [patch.position for patch in choose_worst(patches)] == [2, 3, 0]
    assert [patch.position for patch in choose_random(patches, choose_worst(patches), seed=0)] == [1]


def test_lot_is_the_same_every_time() -> None:
    """Drawn with the seed, without the worst, in the order of the split."""
    patches = [result(i, i / 100) for i in range(60)]
    worst = choose_worst(patches)
    drawn = [patch.position for patch in choose_random(patches, worst, seed=3)]
    assert len(worst) == WORST
    assert len(drawn) == DRAWN
    assert drawn == sorted(drawn) == [patch.position for patch in choose_random(patches, worst, seed=3)]
    assert not set(drawn) & {patch.position for patch in worst}
