"""Is any place in two splits? By the footprints of the scenes, and by the images of the patches."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from data.sources.footprints import Overlap

LISTED = 1000


def leak_report(
    splits: Mapping[str, str],
    placed: Collection[str],
    overlaps: Sequence[Overlap],
    look_alikes: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The part of dataset.json about leaks.

    Args:
        splits: The split of every scene in the dataset.
        placed: The scenes that have a footprint.
        overlaps: Scenes that share ground, within one split or across two; those not in the dataset are ignored.
        look_alikes: Patches that look like one of another split, as `data.quality.duplicates` reports them.
    """
    built = [(one, other, share) for one, other, share in overlaps if one in splits and other in splits]
    across = [
        {
            "scene_id": one,
            "split": splits[one],
            "overlaps": other,
            "its_split": splits[other],
            "share": round(share, 4),  # of the smaller footprint
        }
        for one, other, share in built
        if splits[one] != splits[other]
    ]
    known = sum(scene_id in splits for scene_id in placed)
    return {
        "scenes_with_footprint": known,
        "scenes_without_footprint": len(splits) - known,  # compared by their images only
        "overlapping_pairs": len(built),
        "footprints_across_splits": {"pairs": len(across), "listed": across[:LISTED]},
        "pictures_across_splits": {"patches": len(look_alikes), "listed": list(look_alikes[:LISTED])},
    }


def leak_table(leaks: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Every listed pair: one place, the other place, how they are known to be the same."""
    ground = [
        (_in(entry["scene_id"], entry["split"]), _in(entry["overlaps"], entry["its_split"]), f"{entry['share']:.1%}")
        for entry in leaks["footprints_across_splits"]["listed"]
    ]
    pictures = [
        (_in(entry["patch_id"], entry["split"]), _in(entry["looks_like"], entry["its_split"]), "same picture")
        for entry in leaks["pictures_across_splits"]["listed"]
    ]
    return [(one, other, f"{share} of the smaller footprint") for one, other, share in ground] + pictures


def leak_pairs(leaks: Mapping[str, Any]) -> list[str]:
    """The same pairs, each as a short text."""
    return [f"{one} = {other}" for one, other, _ in leak_table(leaks)]


def leak_note(manifest: Mapping[str, Any]) -> str:
    """What is wrong and what to do; "" if there is no sign of a place in two splits."""
    leaks, build = manifest["leaks"], manifest["build"]
    scenes, patches = leaks["footprints_across_splits"]["pairs"], leaks["pictures_across_splits"]["patches"]
    if not scenes and not patches:
        return ""
    found = []
    if scenes:
        pairs = "1 pair of scenes shares ground" if scenes == 1 else f"{scenes:,} pairs of scenes share ground"
        found.append(f"the same place is in two splits: {pairs}. {_for_ground(build)}")
    if patches:
        look = "1 patch looks" if patches == 1 else f"{patches:,} patches look"
        found.append(
            f"{look} like one of another split. Look at them; if it is the same place, leave one of the two scenes out "
            "of the source."
        )
    return " ".join(found)


def _for_ground(build: Mapping[str, Any]) -> str:
    if build["split_by"] == "official":
        return "Official splits are kept as they are; --split-by scene or --split-by event keeps such scenes together."
    if build["split_by"] == "list":
        return "Lists are kept as they are; put scenes that share ground into --test-list together."
    return "Name events that share ground in the same option, or let --split-by event choose (it keeps them together)."


def _in(name: str, split: str) -> str:
    return f"{name} ({split})"
