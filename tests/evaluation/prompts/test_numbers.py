"""Numbers of a study from answers that are known."""

import math

import numpy as np
import pytest

from evaluation.prompts.answers import DIRECTIONS, Answer, cell_means, centroid
from evaluation.prompts.grid import NINE, STUDIES, WORDS
from evaluation.prompts.numbers import MEASURES, conclude, in_order

SCENES = {patch: f"s{patch}" for patch in range(8)}


def answer(method: str, position: int, word: str, **said: object) -> Answer:
    """One that shows nothing, but for what is said."""
    fields = {"sample": 0, "changed": 0.0, "beyond": 0.0, "east": math.nan, "north": math.nan, "buildings": 7.0}
    return Answer(method, position, word, **(fields | {"cells": [0.0] * 9} | said))  # type: ignore[arg-type]


def obedient(method: str, position: int, word: str, turn: int = 0) -> Answer:
    """Does what the word says; a compass word turned by so many eighths."""
    if word in DIRECTIONS:
        angle = math.radians(45 * (list(DIRECTIONS).index(word) + turn))
        cells = [1.0 if cell == (NINE.index(word) + turn) % 8 else 0.5 for cell in range(9)]
        return answer(method, position, word, east=0.2 * math.cos(angle), north=0.2 * math.sin(angle), cells=cells)
    if word == "centre":
        return answer(method, position, word, cells=[0.5] * 8 + [1.0])
    rank = next(words.index(word) for words in STUDIES.values() if word in words)
    return answer(method, position, word, changed=0.1 * rank, beyond=0.1 * rank, buildings=5.0**rank)


def scores(answers: list[Answer]) -> dict[str, float]:
    """Of `generated`."""
    return {key: one.value for key, one in conclude(answers, [], SCENES).scores["generated"].items()}


def test_obedience() -> None:
    """Every pair in order, every hit, no angle, a pull of the whole way."""
    found = scores([obedient("generated", patch, word) for patch in range(3) for word in WORDS])
    expected = {"order": 100, "order_beyond": 100, "hit": 100, "hit_relative": 100, "angle": 0, "pull": 20}
    assert found == pytest.approx(expected | {"count": 100}, abs=1e-4)


def test_a_quarter_turn() -> None:
    """Two eighths off: 90 degrees, no way gained, and of nine hits only the centre."""
    found = scores([obedient("generated", 0, word, turn=2) for word in WORDS])
    assert [found[key] for key in ("angle", "pull", "hit")] == pytest.approx([90, 0, 100 / 9])


def test_which_words_are_taken_for_which() -> None:
    """Obedience is the diagonal; two eighths off, each word is taken for the one a quarter turn on."""
    answers = [obedient("generated", patch, word) for patch in range(3) for word in WORDS]
    found = conclude(answers, [], SCENES).confusion["generated"]
    np.testing.assert_array_equal(found["position"], np.eye(9))
    np.testing.assert_array_equal(found["count"], [[0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.5]])
    np.testing.assert_array_equal(found["severity"], found["count"])
    turned = conclude([obedient("base", 0, word, turn=2) for word in WORDS], ["count"], SCENES).confusion["base"]
    np.testing.assert_array_equal(turned["position"][:8], np.eye(9)[[*range(2, 8), 0, 1]])
    assert "count" not in turned
    half = answers[: len(WORDS)] + [answer("generated", 1, word) for word in WORDS]  # in the second nothing differs
    np.testing.assert_allclose(conclude(half, [], SCENES).confusion["generated"]["position"], np.eye(9) / 2 + 1 / 18)


def test_always_the_same_place() -> None:
    """The houses stand in the north-east and are hit whatever was asked: chance, in every measure."""
    cells = [0.2] * 9
    cells[NINE.index("north-east")] = 1.0
    found = scores([answer("generated", 0, word, east=0.1, north=0.1, cells=cells) for word in WORDS])
    assert found == pytest.approx({key: measure.chance for key, measure in MEASURES.items()})


def test_nothing_differs() -> None:
    """The copy of the pre image: chance as well."""
    found = scores([answer("generated", 0, word) for word in WORDS])
    assert found == pytest.approx({key: measure.chance for key, measure in MEASURES.items()})


def test_cell_by_cell() -> None:
    """A weak answer beside a strong one that is always there: only the relative hits see it."""
    answers = []
    for word in WORDS:
        cells = [0.2] * 9
        cells[0] = 1.0
        if word in NINE:
            cells[NINE.index(word)] += 0.1
        answers.append(answer("generated", 0, word, cells=cells))
    found = scores(answers)
    assert found["hit"] == pytest.approx(100 / 9)
    assert found["hit_relative"] == pytest.approx(100)


def test_advantage_is_paired() -> None:
    """Generated obeys, the base shows nothing: the gaps to chance, the same in every patch."""
    answers = [obedient("generated", patch, word) for patch in range(5) for word in WORDS]
    answers += [answer("base", patch, word) for patch in range(5) for word in WORDS]
    found = conclude(answers, [], SCENES).advantage
    assert [found["order"].value, found["order"].low, found["angle"].value] == pytest.approx([50, 50, -90], abs=1e-4)


def test_intervals_are_over_scenes() -> None:
    """Eight patches of four scenes have none."""
    answers = [obedient("generated", patch, word) for patch in range(8) for word in WORDS]
    two_each = {patch: f"s{patch // 2}" for patch in range(8)}
    assert math.isnan(conclude(answers, [], two_each).scores["generated"]["order"].low)
    found = conclude(answers, [], SCENES).scores["generated"]["order"]
    assert (found.low, found.high, found.clusters) == (100, 100, 8)


def test_one_image_without_any_difference_hits_by_chance_and_the_others_by_themselves() -> None:
    """Eight words hit their cell, the ninth shows nothing: 8 + 1/9 of 9, in both ways of counting."""
    answers = [obedient("generated", 0, word) for word in WORDS if word != "north"]
    answers.append(answer("generated", 0, "north"))
    found = scores(answers)
    assert [found["hit"], found["hit_relative"]] == pytest.approx([100 * (8 + 1 / 9) / 9] * 2)


def test_silent_studies_have_no_numbers() -> None:
    """A style without places gives no hits."""
    numbers = conclude([obedient("generated", 0, word) for word in WORDS], ["position"], SCENES)
    assert set(numbers.scores["generated"]) == {"order", "order_beyond", "count"}


def test_order_by_hand() -> None:
    """Of the six pairs of 1, 3, 2, 2 three rise, two fall and one is even."""
    assert in_order([1, 3, 2, 2]) == pytest.approx((3 + 0.5) / 6)


def test_where_a_difference_lies() -> None:
    """One bright pixel row up and to the right: north-east, in its cell; nothing at all has no place."""
    weights = np.zeros((90, 90), np.float32)
    weights[0, 89] = 2.0
    assert centroid(weights) == pytest.approx((89.5 / 90 - 0.5, 0.5 - 0.5 / 90))
    cells = dict(zip(NINE, cell_means(weights), strict=True))
    assert cells.pop("north-east") == pytest.approx(2 / 900)
    assert set(cells.values()) == {0}
    assert all(math.isnan(value) for value in centroid(np.zeros((6, 6), np.float32)))
