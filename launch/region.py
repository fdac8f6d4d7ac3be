"""Labelled synthetic pairs over any region: the `pre2post region` command.

On a laptop: `pre2post region --plan regions/plan.yaml --checkpoint run --out set --scheduler dpm++ --steps 10`
"""

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.damage.judge import calibrated, score_pair
from evaluation.errors import EvaluationError
from generate.inputs import Pixels
from generate.region.make import Verdict
from generate.region.plan import Plan
from generate.region.run import Judging, make_set
from generate.sampling import PUBLISHED, Sampling


def region(
    *,
    plan: Path,
    checkpoint: Path,
    out: Path,
    judge: str | None = None,
    calibration: Path | None = None,
    false_rejection: float = 0.05,
    remakes: int = 3,
    shard: int | None = None,
    geotiff: bool = False,
    base: str | None = None,
    sampling: Sampling = PUBLISHED,
) -> None:
    """Make labelled pairs over the regions of a plan: real pre images and footprints, invented damage, generated post.

    Writes an xView2-format release (images, labels with damage, targets) with STAC items, and when all shards are
    done a datasheet (README.md) and report.html. Every image is marked as synthetic, with its source, licences,
    checkpoint, prompt and seed. Tile k depends on the plan, its seed and k only: any number of these commands, on any
    number of machines that share a disk, make one set together, and each may be killed at any time (docs/region.md).

    Args:
        plan: A YAML file such as those in configs/gbd/.
        checkpoint: A run folder or one of its checkpoints/step-*, trained with a mask in `model.condition`.
        out: The folder of the set.
        judge: Keep a pair only if a judge sees the damage that was asked for, and little change elsewhere: a folder
            made by `pre2post damage-model`, or FILE.py:FUNCTION (docs/region.md).
        calibration: A dataset made by `pre2post build` with real labelled pairs; its validation split sets the judge's
            thresholds.
        false_rejection: Share of real pairs that the judge may reject.
        remakes: How often a rejected pair is made again, each time from other noise, before it is dropped.
        shard: Make this one only, 0 to the number of shards - 1: for job arrays. By default all that nobody else makes.
        geotiff: Also write both images as GeoTIFFs on the grid of their source.
        base: Where the base is now, by default where the training found it.
        sampling: How the images are sampled.
    """
    judging = partial(_judging, judge, calibration, false_rejection) if judge else None
    make_set(
        plan,
        checkpoint,
        out,
        shard=shard,
        base=base,
        judging=judging,
        remakes=remakes,
        geotiff=geotiff,
        sampling=sampling,
    )


def _judging(name: str, calibration: Path | None, false_rejection: float, plan: Plan) -> Judging:
    if calibration is None:
        raise EvaluationError(
            f"judge {name} has no thresholds: give --calibration, a dataset with real labelled pairs in its validation "
            "split."
        )
    classify, thresholds, facts = calibrated(name, calibration, false_rejection, plan.min_buildings)

    def judge(pre: Pixels, post: Pixels, asked: NDArray[np.uint8], ids: NDArray[np.int32]) -> Verdict:
        scores = score_pair(classify, pre, post, asked, ids)
        return Verdict(scores.seen, scores.outside, thresholds.fault(scores))

    return Judging(judge, facts)
