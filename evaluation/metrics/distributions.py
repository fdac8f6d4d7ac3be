"""FID, KID and IS of sets of images, from features that are computed once for all three.

None has an interval: their bias depends on how many different images there are, so a set with repetitions, as a
bootstrap draws it, says nothing about other sets.
"""

import math
import warnings

import torch
from torch import Tensor, nn

LEAST_IMAGES = 2
IS_SPLITS = 10  # as published (Salimans et al. 2016, on 50,000 images)
IS_SPLIT_FROM = 5000  # images; the score of a small part is far too low, so fewer are taken whole
FEW_IMAGES = 2048  # with fewer images than features the covariance is not of full rank and FID is biased upwards
BLOCK = 1024  # rows of a kernel matrix in memory at once
SEED = 0


class Given(nn.Module):
    """In place of the network that torchmetrics expects: the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        """The features themselves."""
        return features


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """FID (Heusel et al. 2017) between two sets of features (N, D); NaN for fewer than two images."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(made)) < LEAST_IMAGES:
        return math.nan
    metric = FrechetInceptionDistance(feature=Given(real.shape[1]))
    metric.update(real.double(), real=True)
    metric.update(made.double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, made: Tensor) -> float:
    """KID x 1000 of two sets of features (N, D) and (M, D), all of both; NaN for fewer than two images.

    The unbiased estimate of Binkowski et al. 2018 (equation 4). torchmetrics averages it over 100 random subsets, equal
    in size, which has the same expectation and ignores what exceeds the smaller set.
    """
    if min(len(real), len(made)) < LEAST_IMAGES:
        return math.nan
    real, made = real.double(), made.double()
    within = [(_kernel_sum(x, x) - _kernel(x, x)) / (len(x) * (len(x) - 1)) for x in (real, made)]
    return 1000 * (sum(within) - 2 * _kernel_sum(real, made) / (len(real) * len(made)))


def inception_score(logits: Tensor) -> float:
    """IS (Salimans et al. 2016) of logits (N, classes); from IS_SPLIT_FROM images on the mean of ten equal parts."""
    from torchmetrics.image.inception import InceptionScore

    if len(logits) < LEAST_IMAGES:
        return math.nan
    splits = IS_SPLITS if len(logits) >= IS_SPLIT_FROM else 1
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # of memory, and of the spread of one part
        torch.manual_seed(SEED)
        metric = InceptionScore(feature=Given(logits.shape[1]), splits=splits)
        metric.update(logits[: len(logits) - len(logits) % splits].double())
        return float(metric.compute()[0])


def _kernel(x: Tensor, y: Tensor) -> float:
    """Sum of the cubic kernel over rows that belong together."""
    return float((((x * y).sum(dim=1) / x.shape[1] + 1) ** 3).sum())


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    """The same over all pairs of rows."""
    return sum(float(((part @ y.T / x.shape[1] + 1) ** 3).sum()) for part in x.split(BLOCK))
