"""Which scenes train, which validate, which test. Whole scenes only: patches of a scene never part.

`scene` and `event` keep scenes that share ground in one split. `official` splits and named events stay as they are
asked for; `data/quality/leaks.py` names what they share.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from data.errors import DataError
from data.sources.events import SAME_GROUND, check_events
from data.sources.footprints import Overlap, groups
from data.sources.release import SceneFiles

SplitBy = Literal["official", "scene", "event"]
SPLITS = ("train", "validation", "test")

_OFFICIAL = {"": "train", "train": "train", "tier1": "train", "tier3": "train", "hold": "validation", "test": "test"}
_OFFICIAL["validation"] = "validation"  # in the words of a manifest
LEAST_FOR_ALL = 3  # grounds that suffice for a train, a validation and a test split
# split_by scene: shares of a scene's hash range.
_TEST_SHARE, _VALIDATION_SHARE = 0.15, 0.05
# split_by event: a split takes whole events until it holds the lower share, and none that passes the upper one.
_EVENT_SHARES = {"test": (0.15, 0.20), "validation": (0.05, 0.10)}


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How the user wants the scenes parted."""

    split_by: SplitBy = "official"
    """`official`: train, tier1 and tier3 train, hold validates, test tests. `scene`: by a hash of the scene's name.
    `event`: whole disasters are held out, which tells how a model does on an unseen one. The last two keep scenes and
    events that share ground in one split."""
    test_events: str = ""
    """With `--split-by event`: the events to test on, such as `palu-tsunami,socal-fire`. All others train, so one name
    alone means leave one event out."""
    validation_events: str = ""
    """With `--split-by event`: the events to validate on."""
    seed: int = 0
    """Which scenes or events are held out (not used by `official`), and how captions are phrased."""

    def __post_init__(self) -> None:
        """Stop on a rule that contradicts itself."""
        if self.split_by not in ("official", "scene", "event"):
            raise DataError(f"split_by is {self.split_by!r}; expected official, scene or event.")
        if self.named and self.split_by != "event":
            raise DataError(
                f"test_events and validation_events hold out whole events, but split_by is {self.split_by!r}. "
                "Add --split-by event."
            )
        if both := sorted({*event_names(self.test_events)} & {*event_names(self.validation_events)}):
            raise DataError(f"{', '.join(both)} is in test_events and in validation_events. Name it in one of them.")

    @property
    def named(self) -> dict[str, str]:
        """The split of every event that the user named."""
        tests, validates = event_names(self.test_events), event_names(self.validation_events)
        return dict.fromkeys(tests, "test") | dict.fromkeys(validates, "validation")

    def settings(self) -> dict[str, Any]:
        """For dataset.json."""
        lists = {name: list(event_names(getattr(self, name))) for name in ("test_events", "validation_events")}
        return {"split_by": self.split_by, "seed": self.seed} | (lists if self.named else {})


def event_names(text: str) -> list[str]:
    """The names in a list like `palu-tsunami,hurricane-michael`."""
    return sorted({name.strip() for name in text.split(",") if name.strip()})


OFFICIAL = SplitRule()


def assign_splits(scenes: Sequence[SceneFiles], rule: SplitRule, overlaps: Sequence[Overlap] = ()) -> dict[str, str]:
    """Map every scene id to train, validation or test. `overlaps`: the scenes that share ground."""
    if rule.split_by == "official":
        return {scene.scene_id: _OFFICIAL[scene.official_split] for scene in scenes}
    pairs = [(one, other) for one, other, _ in overlaps]
    if rule.split_by == "scene":
        # The hash of the first raster decides for all that hang together; parts of one raster never part.
        whole_of = {scene.scene_id: scene.whole_id for scene in scenes}
        wholes = sorted(set(whole_of.values()))
        firsts = groups(wholes, [(whole_of[one], whole_of[other]) for one, other in pairs])
        return {scene_id: _by_hash(firsts[whole], rule.seed) for scene_id, whole in whole_of.items()}
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
    """Map every event to one that stands for its ground: those known to share it, and those whose scenes overlap."""
    known = [(event, SAME_GROUND[event]) for event in events if SAME_GROUND.get(event) in events]
    return groups(list(events), [*known, *pairs])


def split_events(
    scenes_per_event: Counter[str], labelled: set[str], seed: int, grounds: Mapping[str, str]
) -> dict[str, str]:
    """Hold out whole grounds: about a sixth of the scenes to test, and of 3 grounds or more fewer to validation.

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
    # Every event is bigger than the share: one must go all the same, the smallest.
    return taken or [min(candidates, key=lambda ground: sizes[ground])]
