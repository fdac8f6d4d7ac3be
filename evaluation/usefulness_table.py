"""The outcome of the usefulness test as Markdown: means over seeds with 95 % intervals (Student's t), paired gains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.columns import DAMAGE_METRICS
from evaluation.estimate import LEVEL

ENDS = ("score", "localisation_f1", "damage_f1")  # with intervals; the classes without
GAINS = (("real + synthetic", "real"), ("real + synthetic", "real + footprints"), ("real + synthetic", "real + others"))


@dataclass(frozen=True)
class Score:
    """One model, tested."""

    arm: str
    scenes: int  # labelled ones; 0 = none
    seed: int
    scores: dict[str, float]  # a value for each of DAMAGE_METRICS


def usefulness_tables(scores: Sequence[Score]) -> str:
    """Every arm; then the gains, seed by seed."""
    heads = [metric.name for metric in DAMAGE_METRICS.values()]
    lines = [f"| labelled scenes | trained on | {' | '.join(heads)} |", f"|---:|---|{'---:|' * len(heads)}"]
    for count, arm in sorted(
        {(one.scenes, one.arm) for one in scores}, key=lambda key: (key[0], _order(scores, key[1]))
    ):
        of = [one.scores for one in scores if (one.scenes, one.arm) == (count, arm)]
        cells = [_cell([one[name] for one in of], interval=name in ENDS) for name in DAMAGE_METRICS]
        lines.append(f"| {count or '-'} | {arm} | {' | '.join(cells)} |")
    lines += [
        "",
        "| labelled scenes | gain of | over | score | localisation F1 | damage F1 |",
        "|---:|---|---|---:|---:|---:|",
    ]
    for arm, other in GAINS:
        for count in sorted({one.scenes for one in scores if one.scenes}):
            pairs = [(_find(scores, arm, count, seed), _find(scores, other, count, seed)) for seed in _seeds(scores)]
            known = [(ours, theirs) for ours, theirs in pairs if ours and theirs]
            if known:
                cells = [
                    _cell([ours[name] - theirs[name] for ours, theirs in known], interval=True, sign="+")
                    for name in ENDS
                ]
                lines.append(f"| {count} | {arm} | {other} | {' | '.join(cells)} |")
    seeds = len(_seeds(scores))
    lines += ["", f"Means over {seeds} seeds, 95 % intervals by Student's t over seeds; gains are paired by seed."]
    return "\n".join(lines) + "\n"


def half_width(values: Sequence[float]) -> float:
    """Of the interval of the mean; NaN of a single value."""
    if len(values) < 2:
        return math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error


def _cell(values: Sequence[float], *, interval: bool, sign: str = "") -> str:
    mean, half = float(np.mean(values)), half_width(values)
    return f"{mean:{sign}.3f}" + (f" ± {half:.3f}" if interval and not math.isnan(half) else "")


def _find(scores: Sequence[Score], arm: str, count: int, seed: int) -> dict[str, float] | None:
    found = [one.scores for one in scores if (one.arm, one.scenes, one.seed) == (arm, count, seed)]
    return found[0] if found else None


def _seeds(scores: Sequence[Score]) -> list[int]:
    return sorted({one.seed for one in scores})


def _order(scores: Sequence[Score], arm: str) -> int:
    """As they were trained."""
    return [one.arm for one in scores].index(arm)
