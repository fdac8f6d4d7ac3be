"""What was measured, per patch and in summary."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evaluation.columns import METRICS, NETWORK_COLUMNS, PIXEL_COLUMNS
from evaluation.damage_classes import DAMAGE_REGIONS
from evaluation.estimate import Estimate, Floats, best_sample, weighted_mean


@dataclass(frozen=True)
class Method:
    """A way to an image of the aftermath: a row of the tables."""

    name: str  # in tables
    words: str  # in the report
    trained: bool = False  # a checkpoint's own images, which are held against copying
    said: tuple[str, str, str] | None = None  # its images, itself and what it does, in sentences; None = by its name


# What an evaluation of one checkpoint may measure.
METHODS = {
    "generated": Method(
        "generated",
        "The trained ControlNet conditions the base on the pre image; the base generates the post image of the "
        "caption.",
        trained=True,
        said=("the generated images", "generated", "generating"),
    ),
    "copy": Method(
        "copy the pre-image",
        "The prediction that nothing changes. Hard to beat outside the changed area, where it is nearly true; the "
        "baseline to beat inside it.",
        said=("the copied pre images", "copied", "copying"),
    ),
    "base": Method(
        "base without control",
        "The base with the same caption and the same initial noise, but without the pre image: a plausible place, not "
        "this place.",
    ),
    "sdedit": Method(
        "SDEdit of the pre-image",
        "The base alone: the pre image is noised three quarters of the way and denoised with the caption.",
    ),
    "inpaint": Method(
        "inpainting of buildings",
        "The base alone, regenerating only the buildings; everything else is the pre image.",
    ),
    "invert": Method(
        "DDIM inversion",
        "The base alone: the pre image is inverted to noise with its own caption, then denoised with the new one.",
    ),
    "diffedit": Method(
        "DiffEdit", "The same, but changed only where the base's predictions for the two captions differ."
    ),
    "instruct": Method("InstructPix2Pix", "A pretrained instruction-following model; the caption is the instruction."),
    "again": Method(
        "real post, taken again",
        "An upper bound, not a method: another real image of the same aftermath, in other light.",
    ),
}
OF_THE_DATASET = ("copy", "again")  # they are not generated
REAL = "real"  # the real post images themselves: their own CLIP-score and IS
BEST = " best"  # ending of the row of a method's best samples

Values = dict[str, dict[str, float]]  # region -> metric, "pixels" among them
Summary = dict[str, dict[str, Estimate]]  # region -> metric


@dataclass(frozen=True)
class Task:
    """What the areas inside and outside are, and the picture that everything starts from, in words."""

    inside: str  # begins a sentence
    outside: str
    aside: str  # below the verdict
    regions: Mapping[str, str]  # inside and outside, explained
    shown: str  # the first picture
    share: str  # of a patch that is inside


CHANGE = Task(
    "Inside the changed area",
    "Outside of it",
    "The changed area: in simulated data every pixel whose true change is at least a quarter of the maximum, on xBD "
    "the damaged buildings. What is outside of it, and what is neither, is explained at the end of the page.",
    {
        "inside": "The changed area. Simulated data: pixels whose true change is at least a quarter of the maximum. "
        "xBD: buildings with minor or major damage or destroyed.",
        "outside": "Simulated data: pixels that certainly did not change. xBD: all but damaged buildings, though "
        "water, ash or the season may have changed the ground. Un-classified buildings, no-data pixels, what cloud or "
        "smoke is known to cover (simulated data) and what is neither certainly changed nor certainly unchanged are "
        "left out of both areas.",
    },
    "pre",
    "changed",
)


@dataclass(frozen=True)
class Published:
    """Numbers of somebody else's paper, in the units of our tables."""

    row: str
    source: str
    values: Mapping[str, float]  # metric -> of whole images


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
    named: Mapping[str, Method] = field(default_factory=lambda: METHODS)  # what may be measured
    task: Task = CHANGE
    published: Sequence[Published] = ()

    @property
    def methods(self) -> list[str]:
        """Those that were measured, in the order of `named`."""
        return [method for method in self.named if method in self.patches[0].scores]

    @property
    def trained(self) -> list[str]:
        """Those of a checkpoint."""
        return [method for method in self.methods if self.named[method].trained]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Which method is held against which: each checkpoint against copying, others against the first checkpoint."""
        copy = ["copy"] if "copy" in self.methods else []
        return [(one, than) for i, one in enumerate(self.trained) for than in (*copy, *self.trained[: min(i, 1)])]

    def rows(self) -> dict[str, str]:
        """Row -> its name, in the order of tables; a method with several samples has two."""
        named: dict[str, str] = {}
        for method in self.methods:
            samples = len(self.patches[0].scores[method])
            several = f", mean of {samples} seeds" if samples > 1 else ""
            named[method] = self.named[method].name + several
            if samples > 1:
                named[method + BEST] = f"{self.named[method].name}, best of {samples}"
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

    def less(self, row: str, than: str, region: str) -> Estimate:
        """Squared error of one method minus that of another, paired by patch, pooled over all pixels."""
        less, pixels = _less(self.patches, row, than, region)
        return weighted_mean(less[:, None], pixels, self.clusters(self.patches))

    def said(self, row: str) -> tuple[str, str, str]:
        """Images of a method, the method and what it does, in sentences."""
        return self.named[row].said or (f"the images of {row}", row, row)

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

    def better_inside(self, row: str) -> tuple[int, int]:
        """In how many patches a method is nearer to the truth than copying, inside the changed area; of how many."""
        less, pixels = _less(self.patches, row, "copy", "inside")
        return int((less < 0).sum()), int((pixels > 0).sum())


def competes(row: str) -> bool:
    """Whether a row does not know the truth."""
    return not row.endswith(BEST) and row != "again"


def named_rows(absent: dict[str, str]) -> list[str]:
    """Why rows are missing, a sentence for each."""
    return [f"{METHODS[method].name}: no row, {reason}" for method, reason in absent.items()]


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
        values = best_sample(values, lowest=bool(METRICS[metric].lower_is_better))
    pixels = np.array([each[0][region]["pixels"] for each in samples], np.float64)
    return weighted_mean(values, pixels if METRICS[metric].pooled else (pixels > 0).astype(np.float64), clusters)


def mean_of(patch: PatchResult, method: str, region: str, metric: str = "mse") -> float:
    """One patch's mean over samples; NaN if it has no such region."""
    return float(np.mean([values[region][metric] for values in patch.scores[method]]))


def _less(patches: Sequence[PatchResult], row: str, than: str, region: str) -> tuple[Floats, Floats]:
    """(patches,) one method less the other, mean over samples, and the pixels of the region; NaN and 0 without it."""
    less = [mean_of(patch, row, region) - mean_of(patch, than, region) for patch in patches]
    return np.array(less), np.array([patch.scores[than][0][region]["pixels"] for patch in patches])
