"""Where windows lie and how much each says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate.scenes.windows import Grid, starts, weight_sums, weights


@st.composite
def lines(draw: st.DrawFn) -> tuple[int, int, int]:
    """(length, side, stride) of windows along one axis."""
    side = draw(st.integers(1, 40))
    return draw(st.integers(side, 300)), side, draw(st.integers(1, side))


@given(lines())
def test_windows_cover_everything_and_leave_nothing_out(line: tuple[int, int, int]) -> None:
    """Every cell lies in a window, every window in the area, neighbours at most a stride apart."""
    length, side, stride = line
    first = starts(length, side, stride)
    covered = {cell for start in first for cell in range(start, start + side)}
    assert covered == set(range(length))
    assert first == sorted(set(first))
    assert all(later - earlier <= stride for earlier, later in pairwise(first))


def test_windows_by_hand() -> None:
    """The last one moves back to the edge."""
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(11, 4, 3) == [0, 3, 6, 7]
    assert starts(4, 4, 2) == [0]
    grid = Grid(height=4, width=6, side=4, stride=2)
    assert list(grid) == [(0, 0), (0, 2)]
    assert len(grid) == 2
    assert list(grid.scaled(8)) == [(0, 0), (0, 16)]


def test_weights_fall_to_the_border_and_add_up() -> None:
    """Half a sine wave squared: at half overlap two neighbours add up to one, sin^2 + cos^2."""
    line = weights(16)
    assert line.min() > 0
    assert np.allclose(line[:8] + line[8:], 1)
    assert line[0] < 0.01 < 0.99 < line[8]


@given(lines())
def test_blending_keeps_what_all_windows_agree_on(line: tuple[int, int, int]) -> None:
    """Brute force: windows that say the truth give the truth, in both axes at once."""
    length, side, stride = line
    truth = np.linspace(-1, 3, length)
    total = np.zeros(length)
    for start in starts(length, side, stride):
        total[start : start + side] += weights(side) * truth[start : start + side]
    assert total / weight_sums(length, side, stride) == pytest.approx(truth, abs=1e-4)
