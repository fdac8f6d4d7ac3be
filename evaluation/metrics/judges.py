"""What networks say about images: of each at once, of sets at the end."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from data.examples.similarity import Pixels
from evaluation.columns import SET_METRICS
from evaluation.damage.model import DamageModel
from evaluation.damage.outside import OutsideModel
from evaluation.estimate import Estimate
from evaluation.metrics.distributions import FEW_IMAGES, frechet_distance, inception_score, kernel_distance
from evaluation.metrics.networks import (
    Features,
    ImagePair,
    ImageText,
    NetworkAbsent,
    load_clip,
    load_dinov3_sat,
    load_inception,
    load_lpips,
)
from evaluation.results import REAL

NOT_ASKED = "not asked for (--networks)"
NETS = ("vgg", "alex")  # of LPIPS
Key = tuple[str, int]  # method and sample
Network = TypeVar("Network")


@dataclass
class Judges:
    """The available networks, the reasons for those that are missing, and the features seen so far."""

    pairs: dict[str, ImagePair] = field(default_factory=dict)  # metric of an image and the true one -> network
    clip: ImageText | None = None
    inception: Features | None = None
    damage: DamageModel | OutsideModel | None = None
    gaps: dict[str, str] = field(default_factory=dict)  # metric -> why it cannot be measured
    features: dict[Key, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    logits: dict[Key, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    @torch.inference_mode()
    def see(
        self, key: Key, images: Sequence[Pixels], truth: Sequence[Pixels], captions: list[str], others: list[str]
    ) -> list[dict[str, float]]:
        """Judge a batch of images of one method and sample; remember their features.

        Args:
            key: the method and the sample.
            images: of a batch.
            truth: the real images.
            captions: of the images.
            others: captions of other patches, as many.

        Returns:
            for each image its distance from the truth and its CLIP-scores, as far as networks are available.
        """
        if not (self.pairs or self.clip or self.inception):
            return [{} for _ in images]
        made, real = _tensor(images), _tensor(truth)
        columns = {metric: network(made, real) for metric, network in self.pairs.items() if key[0] != REAL}
        if self.clip:
            columns["clip"], columns["clip_shuffled"] = self.clip(made, captions + others).chunk(2)
        if self.inception:
            features, logits = self.inception(made)
            self.features[key].append(features.cpu())
            self.logits[key].append(logits.cpu())
        values = {metric: column.float().cpu().tolist() for metric, column in columns.items()}
        return [{metric: column[i] for metric, column in values.items()} for i in range(len(images))]

    def sets(self, method: str) -> dict[str, Estimate]:
        """FID, KID and IS of all images of a method; with several samples the mean, each being a set of its own."""
        samples = sorted(sample for name, sample in self.features if name == method)
        if not samples:
            return {}
        real = torch.cat(self.features[REAL, 0])
        found: dict[str, list[float]] = defaultdict(list)
        for sample in samples:
            features = torch.cat(self.features[method, sample])
            if method != REAL:
                found["fid"].append(frechet_distance(real, features))
                found["kid"].append(kernel_distance(real, features))
            found["is"].append(inception_score(torch.cat(self.logits[method, sample])))
        return {metric: Estimate(float(np.mean(values))) for metric, values in found.items()}

    def explain(self, images: int) -> list[str]:
        """Whether the sets are large enough for their metrics: adds gaps, returns notes."""
        if self.inception is None:
            return []
        if images < 2:
            self.gaps |= dict.fromkeys(
                SET_METRICS, f"needs at least 2 images, better {FEW_IMAGES:,}; there is {images}"
            )
            return []
        if images < FEW_IMAGES:
            return [
                f"FID, KID and IS of {images} images: FID is biased upwards below {FEW_IMAGES:,}; compare it only "
                "within this table."
            ]
        return []


def summon_judges(names: Sequence[str]) -> Judges:
    """Load the networks that are requested and available."""
    device, gaps = PartialState().device, dict[str, str]()

    def loaded(name: str, metrics: Iterable[str], load: Callable[[], Network]) -> Network | None:
        try:
            if name in names:
                return load()
            gaps.update(dict.fromkeys(metrics, NOT_ASKED))
        except NetworkAbsent as absent:
            gaps.update(dict.fromkeys(metrics, str(absent)))
        return None

    pairs = {f"lpips_{net}": partial(load_lpips, net, device) for net in NETS}
    pairs["dinov3_sat"] = partial(load_dinov3_sat, device)
    found = {metric: loaded(metric, [metric], load) for metric, load in pairs.items()}
    return Judges(
        pairs={metric: network for metric, network in found.items() if network},
        inception=loaded("inception", SET_METRICS, partial(load_inception, device)),
        clip=loaded("clip", ["clip", "clip_shuffled"], partial(load_clip, device)),
        gaps=gaps,
    )


def _tensor(images: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(PartialState().device)
