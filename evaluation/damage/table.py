"""The outcome of the usefulness test as Markdown: means over seeds and gains, with 95 % intervals.

Both the seed (which labelled scenes, which weights) and the test scenes are a sample, so both are resampled: a draw
takes seeds and test scenes with replacement, each independently (Owen 2007, "The pigeonhole bootstrap"). Gains are
paired: both models get the same draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.columns import DAMAGE_METRICS
from evaluation.damage.score import Counts, official
from evaluation.estimate import FEWEST_CLUSTERS, Floats, draws, interval

ENDS = ("score", "localisation_f1", "damage_f1")  # with intervals; the classes without
GAINS = (
    *(("real + synthetic", other) for other in ("real", "real + footprints", "real + others")),
    *(("real + judged", other) for other in ("real", "real + footprints", "real + others", "real + synthetic")),
)


@dataclass(frozen=True)
class Score:
    """One model, tested."""

    arm: str
    scenes: int  # labelled ones; 0 = none
    seed: int
    counts: Counts  # (test scenes, 5, 3), see evaluation/damage/score.py


def usefulness_tables(scores: Sequence[Score]) -> str:
    """Every arm; then the gains, seed by seed."""
    tested: dict[tuple[int, str], list[Score]] = {}
    for one in scores:
        tested.setdefault((one.scenes, one.arm), []).append(one)
    values = {key: mean_over_seeds([one.counts for one in of]) for key, of in tested.items()}
    seeds, scenes = len({one.seed for one in scores}), len(scores[0].counts)
    heads = [metric.name for metric in DAMAGE_METRICS.values()]
    lines = [f"| labelled scenes | trained on | {' | '.join(heads)} |", f"|---:|---|{'---:|' * len(heads)}"]
    for count, arm in sorted(values, key=lambda key: key[0]):  # arms as they were trained
        of = values[count, arm]
        cells = [_cell(of[name], min(seeds, scenes) if name in ENDS else 0) for name in DAMAGE_METRICS]
        lines.append(f"| {count or '-'} | {arm} | {' | '.join(cells)} |")
    lines += [
        "",
        "| labelled scenes | gain of | over | score | localisation F1 | damage F1 |",
        "|---:|---|---|---:|---:|---:|",
    ]
    for arm, other in GAINS:
        for count in sorted(count for count, name in values if name == arm and (count, other) in values):
            ours, theirs = values[count, arm], values[count, other]
            cells = [_cell(ours[name] - theirs[name], min(seeds, scenes), sign="+") for name in ENDS]
            lines.append(f"| {count} | {arm} | {other} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Means over {seeds} seeds, on {scenes} test scenes. In brackets 95 % intervals, bootstrap over seeds and over "
        f"test scenes; none below {FEWEST_CLUSTERS} of either. Gains are paired; one whose interval holds 0 is none.",
    ]
    return "\n".join(lines) + "\n"


def mean_over_seeds(counts: Sequence[Counts]) -> dict[str, Floats]:
    """Every number of the challenge, mean over seeds: (1 + DRAWS,), of all seeds and scenes, then of each draw.

    Args:
        counts: of each seed (test scenes, 5, 3).
    """
    by_seed = [
        official(np.concatenate([[one.sum(axis=0)], np.tensordot(draws(len(one)), one, axes=1)])) for one in counts
    ]
    seeds = draws(len(counts), seed=1)  # not the stream that the scenes are drawn from
    shares = np.concatenate([np.ones((1, len(counts))), seeds]) / len(counts)
    return {name: (shares * np.stack([of[name] for of in by_seed], axis=1)).sum(axis=1) for name in by_seed[0]}


def _cell(values: Floats, clusters: int, sign: str = "") -> str:
    """The mean, and its interval if there are enough clusters."""
    low, high = interval(values[1:], clusters)
    ends = "" if math.isnan(low) else f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return f"{values[0]:{sign}.3f}{ends}"
