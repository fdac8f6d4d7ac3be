"""What was measured, per patch and in summary."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.columns import METRICS, NETWORK_COLUMNS, PIXEL_COLUMNS
from evaluation.damage_classes import DAMAGE_REGIONS
from evaluation.estimate import Estimate, Floats, best_sample, weighted_mean

# What may be measured, and its name in tables.
METHODS = {
    "generated": "generated",
    "copy": "copy the pre-image",
    "base": "base without control",
    "sdedit": "SDEdit of the pre-image",
    "inpaint": "inpainting of buildings",
    "invert": "DDIM inversion",
    "diffedit": "DiffEdit",
    "instruct": "InstructPix2Pix",
    "again": "real post, taken again",
}
OF_THE_DATASET = ("copy", "again")  # they are not generated
REAL = "real"  # the real post images themselves: their own CLIP-score and IS
BEST = " best"  # ending of the row of a method's best samples
UNFAIR = (BEST, "again")  # endings of rows that know the truth and compete with none

Values = dict[str, dict[str, float]]  # region -> metric, "pixels" among them
Summary = dict[str, dict[str, Estimate]]  # region -> metric


@dataclass(frozen=True)
class PatchResult:
    """One patch under every method."""

    patch_id: str
    scene_id: str
    event: str
    disaster_type: str
    position: int  # in the split
    seeds: list[int]  # of its samples
    prompt: str
    scores: dict[str, list[Values]]  # method -> sample


@dataclass(frozen=True)
class Evaluation:
    """Everything the tables and the report show."""

    settings: dict[str, Any]  # how the images were made, and from what
    patches: list[PatchResult]
    sets: dict[str, dict[str, Estimate]] = field(default_factory=dict)  # method -> metric of SET_METRICS
    gaps: dict[str, str] = field(default_factory=dict)  # metric -> why it was not measured
    notes: list[str] = field(default_factory=list)  # what a reader of the numbers must know
    absent: dict[str, str] = field(default_factory=dict)  # requested method -> why it has no row
    folds: dict[str, str] = field(default_factory=dict)  # event -> the training it was left out of; empty = one for all

    @property
    def methods(self) -> list[str]:
        """Those that were measured, in the order of METHODS."""
        return [method for method in METHODS if method in self.patches[0].scores]

    def rows(self) -> dict[str, str]:
        """Row -> its name, in the order of tables; a method with several samples has two."""
        named: dict[str, str] = {}
        for method in self.methods:
            samples = len(self.patches[0].scores[method])
            several = f", mean of {samples} seeds" if samples > 1 else ""
            named[method] = METHODS[method] + several
            if samples > 1:
                named[method + BEST] = f"{METHODS[method]}, best of {samples}"
        return named

    def summary(self, patches: Sequence[PatchResult] | None = None) -> dict[str, Summary]:
        """Row -> region -> metric, over all patches or some."""
        chosen = self.patches if patches is None else patches
        return {row: summarise(chosen, row, self.clusters(chosen)) for row in self.rows()}

    def estimate(self, patches: Sequence[PatchResult], row: str, region: str, metric: str) -> Estimate:
        """One number of one row over some patches."""
        return estimate(patches, row, region, metric, self.clusters(patches))

    def clusters(self, patches: Sequence[PatchResult]) -> list[str]:
        """The independent unit of each patch: its scene; with several trainings the events that each left out."""
        folds = [self.folds.get(patch.event, "") for patch in patches]
        return folds if len(set(folds)) > 1 else [patch.scene_id for patch in patches]

    @property
    def drawn(self) -> str:
        """What the intervals over all patches resample, in words."""
        return "events" if len(set(self.folds.values())) > 1 else "scenes"

    def less_than_copying(self, region: str) -> Estimate:
        """Squared error of generated minus that of the copied pre image, paired by patch, pooled over all pixels."""
        less, pixels = _less_than_copying(self.patches, region)
        return weighted_mean(less[:, None], pixels, self.clusters(self.patches))

    def groups(self, key: Callable[[PatchResult], str]) -> dict[str, list[PatchResult]]:
        """The patches of each event or disaster type, in alphabetical order."""
        names = sorted({key(patch) for patch in self.patches})
        return {name: [patch for patch in self.patches if key(patch) == name] for name in names}

    def by_event(self) -> dict[str, list[PatchResult]]:
        """Patches per event."""
        return self.groups(lambda patch: patch.event)

    def by_disaster_type(self) -> dict[str, list[PatchResult]]:
        """Patches per disaster type."""
        return self.groups(lambda patch: patch.disaster_type)

    def better_inside(self) -> tuple[int, int]:
        """In how many patches generated is nearer to the truth than copying, inside the changed area; of how many."""
        less, pixels = _less_than_copying(self.patches, "inside")
        return int((less < 0).sum()), int((pixels > 0).sum())


def named_rows(absent: dict[str, str]) -> list[str]:
    """Why rows are missing, a sentence for each."""
    return [f"{METHODS[method]}: no row, {reason}" for method, reason in absent.items()]


def summarise(patches: Sequence[PatchResult], row: str, clusters: Sequence[str]) -> Summary:
    """Every number of one row."""
    columns = [*PIXEL_COLUMNS, *NETWORK_COLUMNS, *((region, "mse") for region in DAMAGE_REGIONS)]
    found: Summary = {}
    for region, metric in columns:
        found.setdefault(region, {})[metric] = estimate(patches, row, region, metric, clusters)
    return found


def estimate(patches: Sequence[PatchResult], row: str, region: str, metric: str, clusters: Sequence[str]) -> Estimate:
    """One number of one row over some patches; the interval resamples their clusters."""
    method = row.removesuffix(BEST)
    samples = [patch.scores[method] for patch in patches]
    if not samples:
        return Estimate(math.nan)
    values = np.array([[one[region].get(metric, math.nan) for one in each] for each in samples], np.float64)
    if row.endswith(BEST):
        values = best_sample(values, lowest=METRICS[metric].lower_is_better)
    pixels = np.array([each[0][region]["pixels"] for each in samples], np.float64)
    return weighted_mean(values, pixels if METRICS[metric].pooled else (pixels > 0).astype(np.float64), clusters)


def mean_of(patch: PatchResult, method: str, region: str, metric: str = "mse") -> float:
    """One patch's mean over samples; NaN if it has no such region."""
    return float(np.mean([values[region][metric] for values in patch.scores[method]]))


def _less_than_copying(patches: Sequence[PatchResult], region: str) -> tuple[Floats, Floats]:
    """(patches,) generated less copied, mean over samples, and the pixels of the region; NaN and 0 without it."""
    less = [mean_of(patch, "generated", region) - mean_of(patch, "copy", region) for patch in patches]
    return np.array(less), np.array([patch.scores["copy"][0][region]["pixels"] for patch in patches])
