"""The plots of a study: numbers that do not exist leave no trace in the SVG."""

import math
import re

import pytest

from evaluation.estimate import Estimate
from evaluation.prompts.answers import DIRECTIONS
from evaluation.prompts.charts import curve, matrix, rose

WORDS = ("none", "slight", "severe")


@pytest.mark.parametrize("first", [Estimate(0.4), Estimate(0.4, 0.2, 0.8, 6, 6), Estimate(0.0)])
def test_curve_without_some_intervals(first: Estimate) -> None:
    """The axis ends at the highest number that there is, wherever the missing ones stand."""
    found = curve("share", {"base": dict(zip(WORDS, (first, Estimate(0.5), Estimate(0.1)), strict=True))}, WORDS)
    assert not re.search(r"\b(nan|inf)\b", found)
    highest = max(0.5, first.high if first.high > 0 else 0.0)
    assert f">{highest:.3g}</text>" in found


def test_rose_of_words_that_change_nothing() -> None:
    """They have no place; a rose of nothing at all is empty."""
    east = {word: Estimate(0.1 if word == "north" else math.nan) for word in DIRECTIONS}
    found = rose("where", "base", east, east)
    assert not re.search(r"\b(nan|inf)\b", found)
    assert found.count('<g class="base">') == 1
    nothing = dict.fromkeys(DIRECTIONS, Estimate(math.nan))
    assert '<g class="base">' not in rose("where", "base", nothing, nothing)


def test_a_matrix_has_a_cell_for_every_pair_of_words() -> None:
    found = matrix("which", "base", ["south-east", "a<b"], [[1, 0.25], [0, 0.5]])
    assert found.count("<rect") == 4
    assert [text in found for text in (">SE<", ">south-east<", ">a&lt;b<", ">25<", 'fill-opacity="0.50"')] == [True] * 5
