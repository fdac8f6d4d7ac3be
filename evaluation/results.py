"""What was measured, per patch and in summary, and `results.json`."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.regions import REGIONS
from data.similarity import Score, Summary, summarise
from evaluation.output import RESULTS

FORMAT = 1

# What is measured against the real post image, and its name in tables.
METHODS = {"generated": "generated", "copy": "copy the pre-image", "base": "base without control"}

Scores = dict[str, dict[str, Score]]  # method -> region
Summaries = dict[str, dict[str, Summary]]


@dataclass(frozen=True)
class PatchResult:
    """One patch under every method."""

    patch_id: str
    disaster_type: str
    position: int  # in the split
    seed: int
    prompt: str
    scores: Scores


@dataclass(frozen=True)
class Evaluation:
    """Everything the tables and the report show."""

    settings: dict[str, Any]  # how the images were made, and of what
    patches: list[PatchResult]

    def summary(self) -> Summaries:
        """Over all patches."""
        return summaries(self.patches)

    def by_disaster_type(self) -> dict[str, list[PatchResult]]:
        """The patches of each disaster type, in alphabetical order."""
        types = sorted({patch.disaster_type for patch in self.patches})
        return {name: [patch for patch in self.patches if patch.disaster_type == name] for name in types}

    def better_inside(self) -> tuple[int, int]:
        """In how many patches generated is nearer to the truth than copying, inside the changed area; of how many."""
        pairs = [(patch.scores["generated"]["inside"], patch.scores["copy"]["inside"]) for patch in self.patches]
        counted = [(ours, copy) for ours, copy in pairs if ours.pixels]
        return sum(ours.mse < copy.mse for ours, copy in counted), len(counted)


def summaries(patches: Sequence[PatchResult]) -> Summaries:
    """Every method over every region."""
    return {
        method: {region: summarise(patch.scores[method][region] for patch in patches) for region in REGIONS}
        for method in METHODS
    }


def write_results(folder: Path, evaluation: Evaluation) -> None:
    """Write results.json; a number that does not exist, such as one over an empty region, is null."""
    content = {
        "format": FORMAT,
        **evaluation.settings,
        "summary": _plain(evaluation.summary()),
        "by_disaster_type": {name: _plain(summaries(part)) for name, part in evaluation.by_disaster_type().items()},
        "per_patch": [_without_nan(asdict(patch)) for patch in evaluation.patches],
    }
    (folder / RESULTS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def best(values: Iterable[float], *, lowest: bool) -> float:
    """The best of the values that exist; NaN if none does."""
    known = [value for value in values if not math.isnan(value)]
    return (min(known) if lowest else max(known)) if known else math.nan


def _plain(summary: Summaries) -> Any:  # noqa: ANN401  # JSON
    return _without_nan({method: {region: asdict(one) for region, one in of.items()} for method, of in summary.items()})


def _without_nan(value: Any) -> Any:  # noqa: ANN401  # JSON
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
