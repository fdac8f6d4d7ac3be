"""Outlines and the choice of patches, by hand."""

import math
from dataclasses import replace

import numpy as np

from evaluation.report.cells import Table
from evaluation.report.gallery import DRAWN, WORST, choose_random, choose_worst, outline
from evaluation.report.tables import html_table
from evaluation.results import PatchResult


def result(position: int, inside_mse: float) -> PatchResult:
    """A patch with the same numbers under every method."""
    nan = math.isnan(inside_mse)
    scores = {
        "whole": {"pixels": 100.0, "mse": 0.5},
        "inside": {"pixels": 0.0 if nan else 10.0, "mse": inside_mse},
        "outside": {"pixels": 90.0, "mse": 0.1},
    }
    methods = {key: [scores] for key in ("generated", "copy", "base")}
    return PatchResult(f"p{position}", f"s{position}", "storm", "wind", position, [position], "", methods)


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


def test_the_mean_of_its_samples_decides() -> None:
    """One bad sample of three does not make a patch the worst."""
    patches = [result(0, 0.3), result(1, 0.2)]
    spread = [dict(patches[1].scores["generated"][0]) for _ in range(2)]
    spread[1] = {**spread[1], "inside": {"pixels": 10.0, "mse": 0.35}}
    patches[1] = replace(patches[1], scores={**patches[1].scores, "generated": spread})
    assert [patch.position for patch in choose_worst(patches)] == [0, 1]


def test_an_event_of_blanks_has_its_row() -> None:
    table = Table("t", [("whole", "", [])], [(" ", " <b>", []), ("", "", []), ("generated 1", "x", [])])
    html = html_table(table)
    assert html.count("<tr class=") == 4 and '<tr class="generated">' in html and "<b>" not in html
