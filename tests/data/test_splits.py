"""Who trains, who tests."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.release import SceneFiles, find_release
from data.splits import assign_splits, hash_fraction, split_events

# Scenes per event in the full release.
XBD = Counter(
    {
        "guatemala-volcano": 28, "hurricane-florence": 546, "hurricane-harvey": 522, "hurricane-matthew": 403,
        "hurricane-michael": 550, "mexico-earthquake": 193, "midwest-flooding": 445, "palu-tsunami": 196,
        "santa-rosa-wildfire": 377, "socal-fire": 1403, "joplin-tornado": 149, "lower-puna-volcano": 291,
        "moore-tornado": 227, "nepal-flooding": 619, "pinery-bushfire": 1845, "portugal-wildfire": 1869,
        "sunda-tsunami": 148, "tuscaloosa-tornado": 343, "woolsey-fire": 878,
    }
)  # fmt: skip


def scene(scene_id: str) -> SceneFiles:
    path = Path("x")
    return SceneFiles(scene_id, scene_id.rsplit("_", 1)[0], "train", path, path, path, path, None)


def test_official(release: Path) -> None:
    splits = assign_splits(find_release(release).scenes, "official", 0)
    assert list(splits.values()) == ["train", "train", "test", "validation", "train"]


@given(st.lists(st.integers(0, 99_999_999), unique=True, max_size=50), st.integers(0, 5))
def test_scene_splits_do_not_change_when_the_release_grows(numbers: list[int], seed: int) -> None:
    scenes = [scene(f"a-b_{number:08d}") for number in numbers]
    few, many = assign_splits(scenes[::2], "scene", seed), assign_splits(scenes, "scene", seed)
    assert few == {scene_id: split for scene_id, split in many.items() if scene_id in few}


def test_scene_shares() -> None:
    splits = Counter(assign_splits([scene(f"a_{i:08d}") for i in range(10_000)], "scene", 0).values())
    assert splits["test"] == pytest.approx(1500, abs=150)
    assert splits["validation"] == pytest.approx(500, abs=100)


@given(st.text(), st.integers())
def test_hash_fractions_are_fractions(name: str, seed: int) -> None:
    assert 0 <= hash_fraction(name, seed) < 1


def test_the_hash_is_pinned() -> None:
    """A change would move scenes from train to test in everybody's next build."""
    assert hash_fraction("hurricane-michael_00000106", 0) == pytest.approx(0.9954565188, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_whole_events_are_held_out(seed: int) -> None:
    splits = split_events(XBD, set(XBD), seed)
    scenes = Counter[str]()
    for event, split in splits.items():
        scenes[split] += XBD[event]
    assert 0.15 <= scenes["test"] / XBD.total() <= 0.20
    assert 0.05 <= scenes["validation"] / XBD.total() <= 0.10
    assert splits["woolsey-fire"] == splits["socal-fire"]  # the same hills in the same weeks


@given(st.dictionaries(st.sampled_from(sorted(XBD)), st.integers(1, 2000), min_size=2), st.integers(0, 99))
def test_train_and_test_always_get_an_event(sizes: dict[str, int], seed: int) -> None:
    if set(sizes) == {"woolsey-fire", "socal-fire"}:
        return
    splits = split_events(Counter(sizes), set(sizes), seed)
    assert set(splits) == set(sizes)
    assert {"train", "test"} <= set(splits.values())
    assert ("validation" in splits.values()) == (_grounds(splits, "train", "validation") >= 3)


def _grounds(splits: dict[str, str], *names: str) -> int:
    return len({event.replace("woolsey", "socal") for event, split in splits.items() if split in names})


@pytest.mark.parametrize("seed", range(5))
def test_labelled_events_are_held_out_first(seed: int) -> None:
    splits = split_events(Counter({"a": 5, "b": 5, "c": 5, "d": 5, "e": 5, "f": 5}), {"b", "e"}, seed)
    assert {event for event, split in splits.items() if split != "train"} == {"b", "e"}


@pytest.mark.parametrize("events", [["a"], ["woolsey-fire", "socal-fire"]])
def test_one_event_cannot_be_split(events: list[str]) -> None:
    with pytest.raises(DataError, match=r"needs two events on different ground.*Use --split-by scene"):
        split_events(Counter(events), set(events), 0)


def test_unknown_way_to_split() -> None:
    with pytest.raises(DataError, match="split_by is 'random'; expected official, scene or event"):
        assign_splits([], "random", 0)  # type: ignore[arg-type]
