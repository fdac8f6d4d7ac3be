"""A judge of synthetic pairs: is the damage that was asked for seen where it was asked, and little change elsewhere?

Both scores of a pair are compared with those of real pairs, whose labels are true: a threshold is the worst score that
all but a stated share of real scenes reach (split conformal: of exchangeable scenes at most that share is rejected).
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.features import rasterize
from scipy.ndimage import binary_dilation, label, uniform_filter

from data.dataset.open import fingerprint, open_dataset
from data.imagery.pixels import resize_rgb
from data.progress import Bar
from data.row_schema import polygons_of
from data.schema import DAMAGE_VALUES
from data.storage import sha256
from evaluation.damage.examples import Pair, Source
from evaluation.damage.model import BATCH, CARD, WEIGHTS, DamageCard, DamageModel, load_damage_model
from evaluation.damage.outside import load_outside, named_function
from evaluation.errors import EvaluationError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Classify = Callable[[Pixels, Pixels], Mask]  # (side, side, 3) uint8 pre and post -> (side, side) classes, 0 to 4

LEAST_FOUND = 0.5  # of a building's pixels that have a class, else it is not found
NEAR_PX = 8  # around buildings: shadows and rubble change with them
SMOOTH_PX = 9  # grain and shifts by a pixel are no change
COLUMNS = ["scene_id", "labels", "size", "pre", "post", "damage_mask", "buildings"]
WORST_STEP = 3  # from no damage to destroyed


@dataclass(frozen=True)
class Scores:
    """Of one pair."""

    seen: float  # 0..1: 1 - mean difference of asked and seen class over buildings, in units of WORST_STEP
    outside: float  # 0..255: mean change of smoothed colours away from buildings, a change of tone apart


@dataclass(frozen=True)
class Thresholds:
    """What a pair must reach."""

    least_seen: float
    most_outside: float

    def fault(self, scores: Scores) -> str:
        """Why a pair is rejected; "" if it is not. Text before the colon is the kind."""
        if not scores.seen >= self.least_seen:
            return f"damage not seen: {scores.seen:.3f}, at least {self.least_seen:.3f}"
        if not scores.outside <= self.most_outside:
            return f"change elsewhere: {scores.outside:.2f}, at most {self.most_outside:.2f}"
        return ""


def score_pair(classify: Classify, pre: Pixels, post: Pixels, asked: Mask, ids: NDArray[np.int32]) -> Scores:
    """Scores of a pair.

    Args:
        classify: the damage model.
        pre: (side, side, 3).
        post: likewise.
        asked: (side, side): DAMAGE_VALUES; what is 255 is not judged.
        ids: (side, side): 1 + the index of the building, 0 background.
    """
    return Scores(seen_of(steps(classify(pre, post), asked, ids)), change_outside(pre, post, ids))


def steps(found: Mask, asked: Mask, ids: NDArray[np.int32]) -> NDArray[np.float64]:
    """How far the seen class of each assessable building is from the asked one, 0..3; 3 where none is found."""
    judged = np.where((asked >= 1) & (asked <= 4), ids, 0)
    number = int(judged.max(initial=0)) + 1
    pixels = np.bincount(judged.ravel(), minlength=number).astype(float)
    votes = np.stack([np.bincount(judged[found == value], minlength=number) for value in range(1, 5)])
    wanted = np.stack([np.bincount(judged[asked == value], minlength=number) for value in range(1, 5)])
    present = pixels > 0
    present[0] = False
    off = np.abs(votes.argmax(axis=0) - wanted.argmax(axis=0)).astype(float)
    off[votes.sum(axis=0) < LEAST_FOUND * pixels] = WORST_STEP
    return np.asarray(off[present])


def seen_of(off: NDArray[np.float64]) -> float:
    """The score of buildings together; 0 without any."""
    return 1 - float(off.mean()) / WORST_STEP if len(off) else 0.0


def change_outside(pre: Pixels, post: Pixels, ids: NDArray[np.int32]) -> float:
    """Mean change away from buildings; gain and offset per channel, which light and sensor differ in, do not count."""
    outside = ~binary_dilation(ids > 0, iterations=NEAR_PX) & pre.any(axis=-1) & post.any(axis=-1)
    if not outside.any():
        return 0.0
    gaps = []
    for channel in range(3):
        one, other = (uniform_filter(image[..., channel].astype(np.float32), SMOOTH_PX) for image in (pre, post))
        x, y = one[outside], other[outside]
        gain = float(np.clip(np.cov(x, y)[0, 1] / max(float(x.var()), 1e-6), 0, 3)) if len(x) > 1 else 1.0
        gaps.append(float(np.abs(y - y.mean() - gain * (x - x.mean())).mean()))
    return float(np.mean(gaps))


def calibrate(scores: list[Scores], false_rejection: float) -> Thresholds:
    """Thresholds that at most `false_rejection` of exchangeable real scenes miss, half of it by either score.

    Raises:
        EvaluationError: there are too few scenes for that share.
    """
    if not 0 < false_rejection < 1:
        raise EvaluationError(f"false_rejection is {false_rejection}; expected a share between 0 and 1, such as 0.05.")
    allowed = math.floor(false_rejection / 2 * (len(scores) + 1))
    if allowed < 1:
        needed = math.ceil(2 / false_rejection) - 1
        raise EvaluationError(
            f"false_rejection {false_rejection} needs {needed} labelled scenes to calibrate with, and there are "
            f"{len(scores)}. Give a larger --calibration, or a larger --false-rejection."
        )
    seen, outside = sorted(one.seen for one in scores), sorted(one.outside for one in scores)
    return Thresholds(seen[allowed - 1], outside[-allowed])


def real_scores(classify: Classify, rows: datasets.Dataset, least: int) -> list[Scores]:
    """One for each scene of a split with so many assessed buildings: its patches taken together."""
    found: dict[str, tuple[list[NDArray[np.float64]], list[float]]] = {}
    for row in rows.select_columns(COLUMNS):
        if row["damage_mask"] is None or not row["buildings"]:
            continue
        side = row["size"]
        pre, post, asked = (np.array(row[name]) for name in ("pre", "post", "damage_mask"))
        shapes = [(polygon, i) for i, polygon in enumerate(polygons_of(row), 1) if not polygon.is_empty]
        if not shapes:
            continue
        ids = rasterize(shapes, out_shape=(side, side), dtype="int32")
        off, outside = found.setdefault(row["scene_id"], ([], []))
        off.append(steps(classify(pre, post), asked, ids))
        outside.append(change_outside(pre, post, ids))
    together = {scene: (np.concatenate(off), float(np.mean(outside))) for scene, (off, outside) in found.items()}
    return [Scores(seen_of(off), outside) for off, outside in together.values() if len(off) >= least]


def open_judge(name: str) -> tuple[Classify, dict[str, Any]]:
    """The model behind `--judge`, and what identifies it.

    Raises:
        EvaluationError: there is no such folder, file or function.
    """
    if theirs := named_function(name):
        outside = load_outside(*theirs)
        return (lambda pre, post: outside.classify([pre], [post])[0]), outside.facts
    folder = Path(name)
    model = load_damage_model(folder)
    digest = {"weights_sha256": sha256(folder / WEIGHTS), "card_sha256": sha256(folder / CARD)}
    return partial(classify_tile, model), digest


def classify_tile(model: DamageModel, pre: Pixels, post: Pixels) -> Mask:
    """Classes of an image of any size by our model, in windows of the size that it was trained on."""
    step, height, width = model.card.patch_px, *pre.shape[:2]
    high, wide = (-(-length // step) * step for length in (height, width))
    beyond = ((0, high - height), (0, wide - width), (0, 0))
    padded = [np.pad(image, beyond, mode="symmetric") for image in (pre, post)]
    corners = [(top, left) for top in range(0, high, step) for left in range(0, wide, step)]
    found = np.zeros((high, wide), np.uint8)
    for batch in _batches(corners):
        windows = [[_reduced(image, corner, model) for corner in batch] for image in padded]
        for (top, left), classes in zip(batch, model.classify(*windows), strict=True):
            resized = Image.fromarray(classes).resize((step, step), Image.Resampling.NEAREST)
            found[top : top + step, left : left + step] = resized
    return found[:height, :width]


def _reduced(image: Pixels, corner: tuple[int, int], model: DamageModel) -> Pixels:
    (top, left), step = corner, model.card.patch_px
    return resize_rgb(Image.fromarray(image[top : top + step, left : left + step]), model.card.resolution)


def _batches(corners: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    return (corners[start : start + BATCH] for start in range(0, len(corners), BATCH))


def calibrated(
    name: str, dataset: Path, false_rejection: float, least: int
) -> tuple[Classify, Thresholds, dict[str, Any]]:
    """A judge, thresholds from the validation scenes of a dataset with `least` buildings, and what identifies both."""
    classify, facts = open_judge(name)
    scores = real_scores(classify, open_dataset(dataset, "validation"), least)
    thresholds = calibrate(scores, false_rejection)
    facts |= {
        "calibration_fingerprint": fingerprint(dataset),
        "calibration_scenes": len(scores),
        "false_rejection": false_rejection,
        "least_seen": thresholds.least_seen,
        "most_outside": thresholds.most_outside,
    }
    return classify, thresholds, facts


def kept_by(folder: Path, source: Source, real: Source, shape: DamageCard, false_rejection: float) -> Source:
    """The pairs of a source that a judge keeps, with thresholds from real pairs; buildings are regions of the masks.

    Args:
        folder: of a damage model.
        source: synthetic pairs.
        real: true pairs of the same size, unseen by the model.
        shape: of the images.
        false_rejection: share of real pairs that may be rejected.

    Raises:
        EvaluationError: the model is of another scale, there are too few real pairs, or nothing is kept.
    """
    model = load_damage_model(folder)
    own = (model.card.resolution, model.card.patch_px)
    if own != (shape.resolution, shape.patch_px):
        raise EvaluationError(
            f"judge {folder}: trained on patches of {own[1]} px shown at {own[0]} px, but the pairs are patches of "
            f"{shape.patch_px} px shown at {shape.resolution} px. Train one so: pre2post damage-model --resolution."
        )

    def scores(pair: Pair) -> Scores:
        ids = np.asarray(label(pair.damage > 0)[0], np.int32)
        return score_pair(lambda pre, post: model.classify([pre], [post])[0], pair.pre, pair.post, pair.damage, ids)

    true = [pair for pair in (read() for read in real.pairs) if ((pair.damage >= 1) & (pair.damage <= 4)).any()]
    thresholds = calibrate([scores(pair) for pair in true], false_rejection)
    kept = [read for read in Bar(source.pairs, "judge", unit="pair") if not thresholds.fault(scores(read()))]
    if not kept:
        raise EvaluationError(f"judge {folder}: keeps none of {len(source.pairs):,} synthetic pairs. Train it longer.")
    return Source("judged", kept)


def precision_recall(rejected: Iterable[bool], faulty: Iterable[bool]) -> tuple[float, float]:
    """Of the rejected pairs the share that is faulty; of the faulty ones the share that is rejected."""
    pairs = list(zip(rejected, faulty, strict=True))
    hits = sum(out and bad for out, bad in pairs)
    return hits / max(1, sum(out for out, _ in pairs)), hits / max(1, sum(bad for _, bad in pairs))


assert tuple(DAMAGE_VALUES.values())[:4] == (1, 2, 3, 4), "classes are numbered as votes are counted"
