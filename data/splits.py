"""Which scenes train, which validate, which test. Whole scenes only: patches of a scene never part."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from data.errors import DataError
from data.events import SAME_GROUND
from data.release import SceneFiles

SplitBy = Literal["official", "scene", "event"]
SPLITS = ("train", "validation", "test")

_OFFICIAL = {"": "train", "train": "train", "tier1": "train", "tier3": "train", "hold": "validation", "test": "test"}
_OFFICIAL["validation"] = "validation"  # in the words of a manifest
# split_by scene: shares of a scene's hash range.
_TEST_SHARE, _VALIDATION_SHARE = 0.15, 0.05
# split_by event: a split takes whole events until it holds the lower share, and none that passes the upper one.
_EVENT_SHARES = {"test": (0.15, 0.20), "validation": (0.05, 0.10)}


def assign_splits(scenes: Sequence[SceneFiles], split_by: SplitBy, seed: int) -> dict[str, str]:
    """Map every scene id to train, validation or test."""
    if split_by == "official":
        return {scene.scene_id: _OFFICIAL[scene.official_split] for scene in scenes}
    if split_by == "scene":
        return {scene.scene_id: _by_hash(scene.whole_id, seed) for scene in scenes}
    if split_by == "event":
        labelled = {scene.event for scene in scenes if scene.post_label or scene.mask}
        events = split_events(Counter(scene.event for scene in scenes), labelled, seed)
        return {scene.scene_id: events[scene.event] for scene in scenes}
    raise DataError(f"split_by is {split_by!r}; expected official, scene or event.")


def hash_fraction(name: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the name and the seed, so a growing release keeps its splits."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def split_events(scenes_per_event: Counter[str], labelled: set[str], seed: int) -> dict[str, str]:
    """Hold out whole events: about a sixth of the scenes to test, fewer to validation if 3 events remain.

    Labelled events come first: a held-out event without known damage cannot be scored.
    """
    grounds: Counter[str] = Counter()
    known = {SAME_GROUND.get(event, event) for event in labelled}
    for event, number in scenes_per_event.items():
        grounds[SAME_GROUND.get(event, event)] += number
    if len(grounds) < 2:
        raise DataError(
            f"--split-by event needs two events on different ground, found only {', '.join(scenes_per_event)}. "
            "Use --split-by scene, or add another event to the source."
        )
    order = sorted(grounds, key=lambda ground: (ground not in known, hash_fraction(ground, seed), ground))
    split_of = dict.fromkeys(order, "train")
    for split in ("test", "validation"):
        remaining = [ground for ground in order if split_of[ground] == "train"]
        if split == "test" or len(remaining) >= 3:
            split_of |= dict.fromkeys(_take(remaining, grounds, *_EVENT_SHARES[split]), split)
    return {event: split_of[SAME_GROUND.get(event, event)] for event in scenes_per_event}


def _by_hash(scene_id: str, seed: int) -> str:
    fraction = hash_fraction(scene_id, seed)
    if fraction < _TEST_SHARE:
        return "test"
    return "validation" if fraction < _TEST_SHARE + _VALIDATION_SHARE else "train"


def _take(candidates: list[str], sizes: Counter[str], least: float, most: float) -> list[str]:
    total, held = sizes.total(), 0
    taken: list[str] = []
    for ground in candidates:
        if held < least * total and held + sizes[ground] <= most * total and len(taken) < len(candidates) - 1:
            taken.append(ground)
            held += sizes[ground]
    # Every event is bigger than the share: one must go all the same, the smallest.
    return taken or [min(candidates, key=lambda ground: sizes[ground])]
