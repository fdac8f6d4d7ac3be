"""Which scenes are for training, validation and test. Whole scenes only: patches of a scene stay together.

`scene` and `event` keep scenes that share ground in one split. `official` splits, named events and lists stay as
requested; `data/quality/leaks.py` reports what they share.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.dataset.patch_list import read_patch_list
from data.errors import DataError
from data.options import SplitRule
from data.sources.events import SAME_GROUND, check_events
from data.sources.footprints import Overlap, groups
from data.sources.release import SceneFiles

SPLITS = ("train", "validation", "test")

_OFFICIAL = {"": "train", "train": "train", "tier1": "train", "tier3": "train", "hold": "validation", "test": "test"}
_OFFICIAL["validation"] = "validation"  # in the words of a manifest
LEAST_FOR_ALL = 3  # grounds that suffice for a train, a validation and a test split
_OF_PATCH = r"_\d{4,6}_\d{4,6}_\d{1,6}$"  # what a patch_id has after its scene_id
# split_by scene: shares of a scene's hash range.
_TEST_SHARE, _VALIDATION_SHARE = 0.15, 0.05
# split_by event: a split takes whole events until it holds the lower share, and none that passes the upper one.
_EVENT_SHARES = {"test": (0.15, 0.20), "validation": (0.05, 0.10)}


def assign_splits(scenes: Sequence[SceneFiles], rule: SplitRule, overlaps: Sequence[Overlap] = ()) -> dict[str, str]:
    """Map every scene id to train, validation or test. `overlaps`: the scenes that share ground."""
    if rule.split_by == "official":
        return {scene.scene_id: _OFFICIAL[scene.official_split] for scene in scenes}
    pairs = [(one, other) for one, other, _ in overlaps]
    if rule.split_by == "scene":
        # The hash of the first raster decides for all that are connected; parts of one raster stay together.
        whole_of = {scene.scene_id: scene.whole_id for scene in scenes}
        wholes = sorted(set(whole_of.values()))
        firsts = groups(wholes, [(whole_of[one], whole_of[other]) for one, other in pairs])
        return {scene_id: _by_hash(firsts[whole], rule.seed) for scene_id, whole in whole_of.items()}
    if rule.test_list is not None:
        return _listed(scenes, rule.test_list, rule.seed)
    sizes = Counter(scene.event for scene in scenes)
    if rule.named:
        events = _named_events(sizes, rule)
    else:
        event_of = {scene.scene_id: scene.event for scene in scenes}
        labelled = {scene.event for scene in scenes if scene.post_label or scene.mask}
        grounds = same_ground(sizes, [(event_of[one], event_of[other]) for one, other in pairs])
        events = split_events(sizes, labelled, rule.seed, grounds)
    return {scene.scene_id: events[scene.event] for scene in scenes}


def hash_fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the name and the seed, so a growing release keeps its splits."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def same_ground(events: Mapping[str, int], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Map every event to one that represents its ground: those known to share it, and those whose scenes overlap."""
    known = [(event, SAME_GROUND[event]) for event in events if SAME_GROUND.get(event) in events]
    return groups(list(events), [*known, *pairs])


def split_events(
    scenes_per_event: Counter[str], labelled: set[str], seed: int, grounds: Mapping[str, str]
) -> dict[str, str]:
    """Hold out whole grounds: about a sixth of the scenes for test, and with 3 grounds or more a few for validation.

    Labelled events come first: a held-out event without known damage cannot be scored. The test does not take all
    grounds that are small enough to validate on.
    """
    sizes: Counter[str] = Counter()
    known = {grounds[event] for event in labelled}
    for event, number in scenes_per_event.items():
        sizes[grounds[event]] += number
    if len(sizes) < 2:
        raise DataError(
            f"--split-by event needs two events on different ground, found only {', '.join(scenes_per_event)}. "
            "Use --split-by scene, or add another event to the source."
        )
    order = sorted(sizes, key=lambda ground: (ground not in known, hash_fraction(ground, seed), ground))
    test = _take(order, sizes, "test")
    validation: list[str] = []
    if len(order) >= LEAST_FOR_ALL:
        most = _EVENT_SHARES["validation"][1] * sizes.total()
        if all(sizes[ground] > most for ground in order if ground not in test):
            reserved = min(reversed(order), key=lambda ground: sizes[ground])
            test = _take([ground for ground in order if ground != reserved], sizes, "test")
        validation = _take([ground for ground in order if ground not in test], sizes, "validation")
    split_of = dict.fromkeys(order, "train") | dict.fromkeys(test, "test") | dict.fromkeys(validation, "validation")
    return {event: split_of[grounds[event]] for event in scenes_per_event}


def _named_events(sizes: Counter[str], rule: SplitRule) -> dict[str, str]:
    check_events(rule.named, sizes, "the source")
    if set(rule.named) == set(sizes):
        raise DataError(f"all events ({', '.join(sorted(sizes))}) are held out; none is left to train on. Name fewer.")
    return dict.fromkeys(sizes, "train") | rule.named


def _listed(scenes: Sequence[SceneFiles], test_list: Path, seed: int) -> dict[str, str]:
    names = {re.sub(_OF_PATCH, "", name) for name in read_patch_list(test_list)}
    test = {scene.scene_id for scene in scenes if names.intersection((scene.scene_id, scene.whole_id))}
    if not test:
        raise DataError(f"test_list {test_list}: the source has none of its {len(names):,} scenes, first {min(names)}.")
    if len(test) == len(scenes):
        raise DataError(f"test_list {test_list}: names every scene of the source; none is left to train on.")
    return {
        scene.scene_id: "test" if scene.scene_id in test else _validation_or_train(scene.whole_id, seed)
        for scene in scenes
    }


def _validation_or_train(whole_id: str, seed: int) -> str:
    return "validation" if hash_fraction(whole_id, seed) < _VALIDATION_SHARE else "train"


def _by_hash(scene_id: str, seed: int) -> str:
    fraction = hash_fraction(scene_id, seed)
    if fraction < _TEST_SHARE:
        return "test"
    return "validation" if fraction < _TEST_SHARE + _VALIDATION_SHARE else "train"


def _take(candidates: list[str], sizes: Counter[str], split: str) -> list[str]:
    (least, most), total, held = _EVENT_SHARES[split], sizes.total(), 0
    taken: list[str] = []
    for ground in candidates:
        if held < least * total and held + sizes[ground] <= most * total and len(taken) < len(candidates) - 1:
            taken.append(ground)
            held += sizes[ground]
    # Every event is larger than the share: one must be held out nevertheless, the smallest.
    return taken or [min(candidates, key=lambda ground: sizes[ground])]
