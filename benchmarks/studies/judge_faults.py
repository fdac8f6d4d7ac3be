"""Precision and recall of the judge on real pairs with planted faults.

    python -m benchmarks.studies.judge_faults --judge MODEL --dataset DATASET --false-rejection 0.1

Scenes of one split, each pair once as it is and once with every fault, scored as `pre2post region` scores tiles. The
thresholds come from one half of the scenes, the pairs from the other; the mean over many random halves.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize

from data.dataset.open import open_dataset
from data.row_schema import polygons_of
from evaluation.damage.judge import COLUMNS, calibrate, open_judge, precision_recall, score_pair

HALVES = 100  # random ones
SHIFT_PX = 40  # more than most buildings are wide
Case = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32]]  # pre, post, asked, ids


def scene_of(rows: list[dict[str, object]]) -> Case:
    """The patches of a scene beside each other: pre, post, asked, ids."""
    side = int(rows[0]["size"])  # type: ignore[call-overload]
    parts, ids, seen = [], [], 0
    for row in rows:
        parts.append([np.array(row[name]) for name in ("pre", "post", "damage_mask")])
        shapes = [(one, seen + i) for i, one in enumerate(polygons_of(row), 1) if not one.is_empty]
        seen += len(shapes)
        ids.append(rasterize(shapes, (side, side), dtype="int32") if shapes else np.zeros((side, side), np.int32))
    pre, post, asked = (np.concatenate(images, axis=1) for images in zip(*parts, strict=True))
    return pre, post, asked, np.concatenate(ids, axis=1)


def shifted(case: Case) -> Case:
    """Mask and footprints lie beside the buildings."""
    pre, post, asked, ids = case
    return pre, post, np.roll(asked, SHIFT_PX, axis=0), np.roll(ids, SHIFT_PX, axis=0)


def wrong_class(case: Case) -> Case:
    """Undamaged is asked to be destroyed, and the reverse."""
    pre, post, asked, ids = case
    return pre, post, np.where((asked >= 1) & (asked <= 4), 5 - asked, asked).astype(np.uint8), ids


def unchanged(case: Case) -> Case:
    """The post image is the pre image; only scenes whose buildings are damaged on average can show this fault."""
    return case[0], case[0], case[2], case[3]


def elsewhere(case: Case) -> Case:
    """A third of the scene is replaced by its mirror image, away from buildings."""
    pre, post, asked, ids = case
    wide = post.shape[1] // 3
    other = post.copy()
    other[:, :wide] = np.where(ids[:, :wide, None] > 0, post[:, :wide], 255 - post[::-1, :wide])
    return pre, other, asked, ids


FAULTS: dict[str, Callable[[Case], Case]] = {
    "mask shifted": shifted,
    "class wrong": wrong_class,
    "nothing changed": unchanged,
    "change elsewhere": elsewhere,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--false-rejection", type=float, default=0.1)
    parser.add_argument("--least", type=int, default=5, help="buildings of a scene that is used")
    options = parser.parse_args()
    classify, _ = open_judge(options.judge)
    scenes = list(_scenes(open_dataset(options.dataset, options.split), options.least).values())
    real = [score_pair(classify, *scene) for scene in scenes]
    planted = {
        name: [score_pair(classify, *plant(scene)) if _shows(name, scene) else None for scene in scenes]
        for name, plant in FAULTS.items()
    }
    rejected: list[float] = []
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in FAULTS}
    for half in range(HALVES):
        order = np.random.default_rng(half).permutation(len(scenes))
        known, new = order[: len(scenes) // 2], order[len(scenes) // 2 :]
        thresholds = calibrate([real[i] for i in known], options.false_rejection)
        good = [bool(thresholds.fault(real[i])) for i in new]
        rejected.append(float(np.mean(good)))
        for name, scores in planted.items():
            bad = [bool(thresholds.fault(one)) for one in (scores[i] for i in new) if one is not None]
            found[name].append(precision_recall(good + bad, [False] * len(good) + [True] * len(bad)))
    print(f"{len(scenes)} scenes, half of them calibrate; real pairs rejected: {np.mean(rejected):.2f}")
    for name, pairs in found.items():
        precision, recall = np.mean(pairs, axis=0)
        number = sum(one is not None for one in planted[name])
        print(f"{name} ({number} pairs): precision {precision:.2f}, recall {recall:.2f}")


def _shows(name: str, case: Case) -> bool:
    """Whether a fault is one in this scene: without damage, nothing changed is right."""
    asked = case[2]
    assessable = (asked >= 1) & (asked <= 4)
    return name != "nothing changed" or float(asked[assessable].mean()) >= 2.5


def _scenes(rows: datasets.Dataset, least: int) -> dict[str, Case]:
    together: dict[str, list[dict[str, object]]] = defaultdict(list)
    for row in rows.select_columns(COLUMNS):
        if row["damage_mask"] is not None and row["buildings"]:
            together[row["scene_id"]].append(row)
    cases = {scene: scene_of(parts) for scene, parts in sorted(together.items())}
    return {
        scene: (pre, post, asked, ids)
        for scene, (pre, post, asked, ids) in cases.items()
        if len(np.unique(ids[(asked >= 1) & (asked <= 4)])) >= least
    }


if __name__ == "__main__":
    main()
