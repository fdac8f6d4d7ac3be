"""Position and arrangement words, against hand-placed points and random ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.captions.layout import COMPASS, Layout, arrangement, clark_evans_z, position

NINE = {
    (0.1, 0.1): "north-west", (0.5, 0.1): "north", (0.9, 0.1): "north-east",
    (0.1, 0.5): "west", (0.5, 0.5): "centre", (0.9, 0.5): "east",
    (0.1, 0.9): "south-west", (0.5, 0.9): "south", (0.9, 0.9): "south-east",
}  # fmt: skip


@pytest.mark.parametrize(("point", "word"), NINE.items())
def test_one_building(point: tuple[float, float], word: str) -> None:
    """x goes east, y goes south."""
    assert position([point], [1.0]) == word


def test_the_weights_decide() -> None:
    west, east = (0.1, 0.5), (0.9, 0.5)
    assert position([west, east], [1, 0]) == "west"
    assert position([west, west, east], [1 / 3, 1 / 3, 1]) == "throughout"  # centroid at 0.58
    assert position([west, east], [0, 0]) == position([], []) == ""


def test_spread_points() -> None:
    corners = [(0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
    assert position(corners, [1] * 4) == "throughout"
    assert position(corners[::3], [1] * 2) == ""  # two ends are neither the centre nor everywhere
    assert position([(0.45, 0.5), (0.55, 0.5), (0.5, 0.6)], [1] * 3) == "centre"


def test_a_direction_needs_half_of_the_weight_on_its_side() -> None:
    assert position([(1.0, 0.5)] * 4 + [(0.48, 0.5)] * 6, [1] * 10) == ""
    assert position([(1.0, 0.5)] * 5 + [(0.48, 0.5)] * 5, [1] * 10) == "east"


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0, 1 / 3, 2 / 3, 1])), max_size=12))
def test_equals_an_independent_computation(houses: list[tuple[float, float, float]]) -> None:
    """Sums by hand, and directions by the largest projection on eight unit vectors."""
    weight = sum(w for *_, w in houses)
    word = position([(x, y) for x, y, _ in houses], [w for *_, w in houses])
    if weight == 0:
        assert word == ""
        return
    dx = sum(w * x for x, _, w in houses) / weight - 0.5
    dy = sum(w * y for _, y, w in houses) / weight - 0.5
    if abs(math.hypot(dx, dy) - 1 / 6) < 1e-9:
        return
    if math.hypot(dx, dy) < 1 / 6:
        assert word in ("centre", "throughout", "")
        return
    units = {name: (math.cos(i * math.pi / 4), -math.sin(i * math.pi / 4)) for i, name in enumerate(COMPASS)}
    projections = sorted((dx * ux + dy * uy, name) for name, (ux, uy) in units.items())
    if projections[-1][0] - projections[-2][0] > 1e-9:
        assert word in (projections[-1][1], "")
    assert word not in ("centre", "throughout")


def test_mirrored_exchanges_east_and_west_only() -> None:
    layout = Layout("north-east", "west", "throughout", "clustered")
    assert layout.mirrored() == Layout("north-west", "east", "throughout", "clustered")
    assert Layout("south", "centre", "", "single").mirrored() == Layout("south", "centre", "", "single")
    assert layout.mirrored().mirrored() == layout


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_mirrored_words_are_the_words_of_the_mirrored_points(points: list[tuple[float, float]]) -> None:
    there = [(1 - x, y) for x, y in points]
    words = Layout(position(points, [1] * len(points)), "", "", "").mirrored().buildings
    moved = [position([(x + dx, y) for x, y in there], [1] * len(points)) for dx in (-1e-9, 0, 1e-9)]
    assert words in moved  # on the border between two words a rounding error decides


def test_arrangement() -> None:
    even = [((i + 0.5) / 6, (j + 0.5) / 6) for i in range(6) for j in range(6)]
    cluster = [(0.2 + 0.1 * x, 0.2 + 0.1 * y) for x, y in even]
    assert [arrangement(points) for points in ([], [(0.3, 0.3)], even, cluster)] == [
        "", "single", "evenly spaced", "clustered",
    ]  # fmt: skip
    assert arrangement([(0.5, 0.5), (0.52, 0.5)]) == "clustered"
    assert arrangement([(0.05, 0.05), (0.95, 0.95)]) == "scattered"


@pytest.mark.parametrize("number", [5, 20, 100])
def test_random_patterns_are_called_scattered_nineteen_times_in_twenty(number: int) -> None:
    """Also that mean and spread of the statistic are those of a standard normal variable."""
    rng = np.random.default_rng(number)
    z = np.array([clark_evans_z(rng.uniform(size=(number, 2))) for _ in range(1000)])
    assert abs(z.mean()) < 0.15 and 0.85 < z.std() < 1.15
    assert 0.02 < (np.abs(z) > 1.96).mean() < 0.08
