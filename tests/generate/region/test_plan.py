"""Plans: what is wrong with one is said at once; what a tile shows follows from its number alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from data.examples.invented_damage import CLASSES
from generate.errors import GenerateError
from generate.region.damage import FORCES, invent
from generate.region.draw import apportioned, draw, per_region, shuffled
from generate.region.plan import Plan, read_plan
from tests.generate.region.worlds import write_plan

ROOT = Path(__file__).parents[3]


def plan_of(folder: Path, **changed: Any) -> Plan:
    return read_plan(write_plan(folder, **changed))


def test_every_mistake_is_named(tmp_path: Path) -> None:
    path = write_plan(tmp_path, pears=10, pairs=0, severity={"sever": 1})
    content = yaml.safe_load(path.read_text())
    del content["regions"][0]["imagery_licence"]
    content["regions"][1]["footprint"] = content["regions"][1].pop("footprints")
    content["regions"][1]["disasters"] = {"flood": 1}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(GenerateError) as error:
        read_plan(path)
    said = str(error.value)
    for words in (
        "pears: no such setting. Did you mean pairs?",
        "pairs is 0: input should be greater than or equal to 1",
        "severity.sever: no such setting. Did you mean severe?",
        "regions.0.imagery_licence is not set. No image is used without one.",
        "regions.1.footprint: no such setting. Did you mean footprints?",
        "regions.1.footprints is not set",
        "regions.1.disasters.flood",
    ):
        assert words in said, said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("regions: [", "not a YAML file"),
        ("- 1", "expected settings"),
        ("pairs: .nan", "pairs is None"),
    ],
)
def test_what_is_no_plan(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(GenerateError, match=words):
        read_plan(tmp_path / "p.yaml")
    with pytest.raises(GenerateError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")


def test_values_that_contradict(tmp_path: Path) -> None:
    plan = yaml.safe_load(write_plan(tmp_path).read_text())
    plan["regions"][1] |= {"name": "alpha", "disasters": {}, "bbox": [10, 5, 9, 6]}
    plan["classes"] = dict.fromkeys(CLASSES, 0)
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(GenerateError) as error:
        read_plan(tmp_path / "plan.yaml")
    for words in (
        "alpha is given 2 times",
        "has no disasters",
        "expected west, south",
        "classes: the shares add up to 0",
    ):
        assert words in str(error.value)


@settings(max_examples=25)
@given(st.integers(1, 300), st.text(max_size=5))
def test_a_shuffle_takes_every_place_once(total: int, key: str) -> None:
    assert sorted(shuffled(index, total, key) for index in range(total)) == list(range(total))


def test_a_shuffle_of_a_hundred_million_takes_no_list() -> None:
    found = {shuffled(index, 100_000_000, "x") for index in range(1000)}
    assert len(found) == 1000
    assert 40_000_000 < np.mean(sorted(found)) < 60_000_000


@given(st.integers(1, 1000), st.lists(st.floats(0.01, 10), min_size=1, max_size=6))
def test_pairs_are_apportioned(pairs: int, shares: list[float]) -> None:
    found = apportioned(pairs, shares)
    assert sum(found) == pairs
    assert all(abs(one - pairs * share / sum(shares)) < 1 for one, share in zip(found, shares, strict=True))


def test_tiles_look_at_different_ground(tmp_path: Path) -> None:
    """As long as there is any; then each place gets another disaster. Regions get their shares."""
    plan = plan_of(tmp_path, pairs=40)
    assert per_region(plan) == [20, 20]
    drawn = [draw(plan, [200, 20], number) for number in range(40)]
    wide = [cell for one in drawn if one.region == 0 for cell in one.cells]
    assert len(wide) == len(set(wide)) == 200
    narrow = [one.cells for one in drawn if one.region == 1]
    assert sorted(narrow) == [(cell,) for cell in range(20)]
    crowded = [draw(plan, [200, 5], number).cells for number in range(40) if drawn[number].region == 1]
    assert sorted(crowded) == sorted([(cell,) for cell in range(5)] * 4)
    assert {one.disaster for one in drawn if one.region == 0} == {"flooding"}
    assert {one.disaster for one in drawn if one.region == 1} == {"fire", "wind"}


def test_a_tile_depends_on_its_number_alone(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, pairs=1000)
    forward = [draw(plan, [50, 60], number) for number in range(30)]
    assert [draw(plan, [50, 60], number) for number in reversed(range(30))] == forward[::-1]
    assert [draw(plan_of(tmp_path, pairs=1000, seed=1), [50, 60], number) for number in range(30)] != forward


@pytest.mark.parametrize("disaster", sorted(FORCES))
def test_the_classes_are_those_of_the_plan(tmp_path: Path, disaster: str) -> None:
    """Over many tiles; severe ones have worse damage; a class without a share does not occur."""
    shares = {"no-damage": 0.5, "minor-damage": 0.0, "major-damage": 0.3, "destroyed": 0.2}
    plan, rng = plan_of(tmp_path, classes=shares), np.random.default_rng(5)
    found, levels = [], rng.integers(0, 3, 300)
    for level in levels:
        found.append([CLASSES.index(name) for name in invent(plan, disaster, level, rng.uniform(0, 1, (30, 2)), rng)])
    counts = np.bincount(np.concatenate(found), minlength=4) / 9000
    assert counts == pytest.approx([0.5, 0, 0.3, 0.2], abs=0.06)
    assert np.mean([one for one, level in zip(found, levels, strict=True) if level == 2]) > 0.2 + np.mean(
        [one for one, level in zip(found, levels, strict=True) if level == 0]
    )


@pytest.mark.parametrize("path", sorted((ROOT / "configs/gbd").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_plans_that_ship(path: Path) -> None:
    plan = read_plan(path)
    assert sum(per_region(plan)) == plan.pairs
    command = path.read_text().partition("pre2post region --plan ")[2].splitlines()[0]
    assert f"{path.name} --checkpoint" in command
