"""Who trains, who tests."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset.splits import assign_splits, hash_fraction, same_ground, split_events
from data.errors import DataError
from data.options import SplitRule
from data.sources.release import SceneFiles, find_release

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
    splits = assign_splits(find_release(release).scenes, SplitRule())
    assert list(splits.values()) == ["train", "train", "test", "validation", "train"]


@given(st.lists(st.integers(0, 99_999_999), unique=True, max_size=50), st.integers(0, 5))
def test_scene_splits_do_not_change_when_the_release_grows(numbers: list[int], seed: int) -> None:
    scenes = [scene(f"a-b_{number:08d}") for number in numbers]
    rule = SplitRule(split_by="scene", seed=seed)
    few, many = assign_splits(scenes[::2], rule), assign_splits(scenes, rule)
    assert few == {scene_id: split for scene_id, split in many.items() if scene_id in few}


def test_scene_shares() -> None:
    splits = Counter(assign_splits([scene(f"a_{i:08d}") for i in range(10_000)], SplitRule(split_by="scene")).values())
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
    splits = split_events(XBD, set(XBD), seed, same_ground(XBD, []))
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
    splits = split_events(Counter(sizes), set(sizes), seed, same_ground(sizes, []))
    assert set(splits) == set(sizes)
    grounds = {event.replace("woolsey", "socal") for event in splits}
    assert set(splits.values()) == ({"train", "test"} if len(grounds) == 2 else {"train", "test", "validation"})


@pytest.mark.parametrize("seed", range(4))
def test_the_test_leaves_a_small_event_to_validate_on(seed: int) -> None:
    """Both small ones would be a ninth of the scenes, and then one half would have to validate the other."""
    splits = split_events(Counter(a=9, b=7, c=1, d=1), set("abcd"), seed, {name: name for name in "abcd"})
    held_out = {splits["c"], splits["d"]}
    assert (splits["a"], splits["b"], held_out) == ("train", "train", {"test", "validation"})


@pytest.mark.parametrize("seed", range(5))
def test_labelled_events_are_held_out_first(seed: int) -> None:
    splits = split_events(Counter(dict.fromkeys("abcdef", 5)), {"b", "e"}, seed, {name: name for name in "abcdef"})
    assert {event for event, split in splits.items() if split != "train"} == {"b", "e"}


@pytest.mark.parametrize("events", [["a"], ["woolsey-fire", "socal-fire"]])
def test_one_event_cannot_be_split(events: list[str]) -> None:
    with pytest.raises(DataError, match=r"needs two events on different ground.*Use --split-by scene"):
        split_events(Counter(events), set(events), 0, same_ground(Counter(events), []))


def test_unknown_way_to_split() -> None:
    with pytest.raises(DataError, match="split_by is 'random'; expected official, scene, event, list"):
        SplitRule(split_by="random")  # type: ignore[arg-type]


def four_events() -> list[SceneFiles]:
    return [scene(f"{event}_{i:08d}") for event in ("a-fire", "b-flood", "c-wind", "d-quake") for i in range(3)]


def events_of(splits: dict[str, str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for scene_id, split in splits.items():
        found.setdefault(split, set()).add(scene_id.rsplit("_", 1)[0])
    return found


def test_named_events_are_held_out_and_all_others_train() -> None:
    rule = SplitRule(split_by="event", test_events="c-wind, a-fire", validation_events="d-quake")
    found = events_of(assign_splits(four_events(), rule))
    assert found == {"test": {"a-fire", "c-wind"}, "validation": {"d-quake"}, "train": {"b-flood"}}


def test_one_name_leaves_one_event_out() -> None:
    found = events_of(assign_splits(four_events(), SplitRule(split_by="event", test_events="b-flood")))
    assert found == {"test": {"b-flood"}, "train": {"a-fire", "c-wind", "d-quake"}}


def test_an_unknown_event_is_refused_with_the_nearest() -> None:
    rule = SplitRule(split_by="event", test_events="b-floods")
    with pytest.raises(DataError, match=r"no event 'b-floods' in the source. Did you mean b-flood\? It has a"):
        assign_splits(four_events(), rule)
    with pytest.raises(DataError, match=r"no event 'x' in the source. It has a-fire"):
        assign_splits(four_events(), SplitRule(split_by="event", validation_events="x"))


def test_named_events_that_make_no_sense() -> None:
    with pytest.raises(DataError, match=r"split_by is 'official'. Add --split-by event"):
        SplitRule(test_events="a-fire")
    with pytest.raises(DataError, match=r"a-fire is in test_events and in validation_events"):
        SplitRule(split_by="event", test_events="a-fire", validation_events="a-fire")
    with pytest.raises(DataError, match=r"all events \(a-fire, b-flood, c-wind, d-quake\) are held out"):
        assign_splits(four_events(), SplitRule(split_by="event", test_events="a-fire,b-flood,c-wind,d-quake"))


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=20), st.integers(0, 5))
def test_scenes_that_share_ground_stay_together(pairs: list[tuple[int, int]], seed: int) -> None:
    """Against following the pairs one after the other."""
    names = [f"e_{i:08d}" for i in range(30)]
    shared = [(names[min(pair)], names[max(pair)], 0.5) for pair in pairs if pair[0] != pair[1]]
    splits = assign_splits([scene(name) for name in names], SplitRule(split_by="scene", seed=seed), shared)
    assert all(splits[one] == splits[other] for one, other, _ in shared)
    alone = set(names) - {name for one, other, _ in shared for name in (one, other)}
    apart = assign_splits([scene(name) for name in names], SplitRule(split_by="scene", seed=seed))
    assert all(splits[name] == apart[name] for name in alone)


@pytest.mark.parametrize("seed", range(6))
def test_events_that_share_ground_are_held_out_together(seed: int) -> None:
    shared = [("a-fire_00000001", "d-quake_00000002", 0.01)]
    splits = assign_splits(four_events(), SplitRule(split_by="event", seed=seed), shared)
    assert splits["a-fire_00000000"] == splits["d-quake_00000000"]
    assert set(splits.values()) >= {"train", "test"}


def test_a_list_says_which_scenes_test(tmp_path: Path) -> None:
    """By their patches, whole; of the others about a twentieth validates, whatever else there is."""
    (tmp_path / "list.txt").write_text(
        "a-b_00000003_0000_0512_512\nx/a-b_00000007_pre_disaster_part1.png\na-b_00000009"
    )
    scenes = [scene(f"a-b_{number:08d}") for number in range(400)]
    rule = SplitRule(split_by="list", test_list=tmp_path / "list.txt")
    splits = assign_splits(scenes, rule)
    assert {name for name, split in splits.items() if split == "test"} == {f"a-b_0000000{i}" for i in (3, 7, 9)}
    assert 8 <= Counter(splits.values())["validation"] <= 32
    assert assign_splits(scenes[:50], rule) == {one.scene_id: splits[one.scene_id] for one in scenes[:50]}
    with pytest.raises(DataError, match="names every scene of the source"):
        assign_splits([scenes[3], scenes[7]], rule)
    with pytest.raises(DataError, match="the source has none of its 3 scenes, first a-b_00000003"):
        assign_splits(scenes[10:], rule)
    with pytest.raises(DataError, match="--split-by list and --test-list FILE need each other"):
        SplitRule(test_list=tmp_path / "list.txt")
