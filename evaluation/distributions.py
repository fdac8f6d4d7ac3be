"""FID, KID and IS of sets of images, by torchmetrics, from features that are computed once for all three."""

import math
import warnings

import torch
from torch import Tensor, nn

from evaluation.estimate import Estimate

LEAST_IMAGES = 2
KID_SUBSET = 1000  # as published (Binkowski et al. 2018: 100 subsets of 1,000); a smaller set is taken whole
KID_SUBSETS = 100
IS_SPLITS = 10
FEW_IMAGES = 2048  # with fewer images than features the covariance is not of full rank and FID is biased upwards
SEED = 0


class Given(nn.Module):
    """Stands where torchmetrics expects a network: the features are there already."""

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


def kernel_distance(real: Tensor, made: Tensor) -> Estimate:
    """KID x 1000 (Binkowski et al. 2018), unbiased; the interval is two standard deviations of its subsets."""
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(len(real), len(made), KID_SUBSET)
    if size < LEAST_IMAGES:
        return Estimate(math.nan)
    whole = max(len(real), len(made)) <= KID_SUBSET
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # of memory: 8 kB per image
        torch.manual_seed(SEED)
        metric = KernelInceptionDistance(
            feature=Given(real.shape[1]), subsets=1 if whole else KID_SUBSETS, subset_size=size
        )
        metric.update(real.double(), real=True)
        metric.update(made.double(), real=False)
        mean, spread = (1000 * float(value) for value in metric.compute())
    return Estimate(mean) if whole else Estimate(mean, mean - 2 * spread, mean + 2 * spread)


def inception_score(logits: Tensor) -> Estimate:
    """IS (Salimans et al. 2016) of logits (N, classes): in ten parts as published; in one below a hundred images."""
    from torchmetrics.image.inception import InceptionScore

    if len(logits) < LEAST_IMAGES:
        return Estimate(math.nan)
    splits = IS_SPLITS if len(logits) >= 10 * IS_SPLITS else 1
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # of memory, and of the spread of one part
        torch.manual_seed(SEED)
        metric = InceptionScore(feature=Given(logits.shape[1]), splits=splits)
        metric.update(logits.double())
        mean, spread = (float(value) for value in metric.compute())
    return Estimate(mean) if splits == 1 else Estimate(mean, mean - 2 * spread, mean + 2 * spread)
