"""Numbers, plurals, dates."""

from datetime import date

import pytest

from data.captions.words import Phrasing, amount, counted, degrees, joined, measured, season, spelled


def test_numbers() -> None:
    assert [spelled(number) for number in (1, 10, 11, 1234)] == ["one", "ten", "11", "1,234"]
    assert [counted(number, "building") for number in (0, 1, 2, 11)] == [
        "no buildings", "one building", "two buildings", "11 buildings",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "one building"),
        (2, "two buildings"),
        (3, "a few buildings"),
        (9, "a few buildings"),
        (10, "about a dozen buildings"),
        (15, "well over a dozen buildings"),
        (24, "dozens of buildings"),
        (100, "a hundred buildings"),
        (101, "over a hundred buildings"),
        (200, "hundreds of buildings"),
        (2000, "thousands of buildings"),
    ],
)
def test_amounts(number: int, text: str) -> None:
    assert amount(number) == text


def test_measures_have_two_digits() -> None:
    values = [0.4567, 0.996, 1.0, 1.04, 12.34, 99.6, 1234.0]
    assert [measured(value, "metre") for value in values] == [
        "0.46 metres", "1 metre", "1 metre", "1 metre", "12 metres", "100 metres", "1,200 metres",
    ]  # fmt: skip
    assert [degrees(value) for value in (0.6, 1.4, 7.6)] == ["1 degree", "1 degree", "8 degrees"]


def test_lists() -> None:
    assert [joined(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_seasons_follow_the_hemisphere_and_are_silent_in_the_tropics() -> None:
    october, january = date(2018, 10, 13), date(2013, 1, 5)
    assert (season(october, 30), season(october, -34), season(october, -0.9)) == ("autumn", "spring", "")
    assert (season(january, 30), season(january, -34), season(january, float("nan"))) == ("winter", "summer", "")


def test_two_variants_never_share_a_phrasing() -> None:
    for key in "abcdefgh":
        first, second = (Phrasing(key, variant).choose("view", "xyz") for variant in (0, 1))
        assert first != second
    assert {Phrasing(str(key), 0).choose("view", "xyz") for key in range(50)} == set("xyz")
