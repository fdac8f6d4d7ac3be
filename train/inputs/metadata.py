"""Metadata that the networks are conditioned on: the dataset's, some of it dropped (law 1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from data.examples.rows import newest, shown_metadata
from models.base import Base
from models.diffusionsat.metadata import METADATA_FIELDS, MetadataError, normalised_batch
from train.config import ModelConfig
from train.errors import ConfigError
from train.inputs.views import Phase, View


@dataclass(frozen=True)
class Metadata:
    """The metadata of every image of a dataset, and how much of it is dropped."""

    rows: Mapping[Phase, Tensor]  # (patches, 7) float32, normalised, NaN = unknown
    earlier: Tensor  # (patches, T - 1, 7), of the other pre-event images, newest first
    dropout: float  # share of values made unknown, each independently
    dropout_all: float  # share of images with all values made unknown

    def draw(self, rng: np.random.Generator, view: View) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
        """Metadata of one example; dropped independently for the target and each input image.

        Returns:
            `metadata` (7,) of the target image, `cond_metadata` (7,) of the input image or (7, T) of T of them,
            and which values were dropped, (1 + T, 7).
        """
        target, shown = (self.rows[phase][view.patch][None] for phase in (view.target, view.source))
        images = torch.cat([target, shown, self.earlier[view.patch]])
        dropped = rng.random(images.shape) < self.dropout
        dropped |= rng.random((len(images), 1)) < self.dropout_all
        images = images.masked_fill(torch.from_numpy(dropped), torch.nan)
        condition = images[1] if len(images) == 2 else images[1:].T.contiguous()
        return {"metadata": images[0], "cond_metadata": condition}, dropped


def uses_metadata(model: ModelConfig, base: Base) -> bool:
    """Whether a network of the run is conditioned on metadata: the base's UNet, a ControlNet, or both."""
    return model.metadata == "control" or (model.metadata == "base" and base.family.metadata)


def metadata_of(dataset: Dataset, resolution: int, dropout: float, dropout_all: float, sequence: int = 1) -> Metadata:
    """The metadata of a dataset whose patches are resized to a resolution (px), checked and normalised.

    `sequence`: number of pre-event images used; every patch has them.

    Raises:
        ConfigError: a value is out of range.
    """
    sizes = dataset["size"][:]
    natural = {
        phase: [
            shown_metadata(row, size, resolution)
            for row, size in zip(dataset[f"metadata_{phase}"][:], sizes, strict=True)
        ]
        for phase in ("pre", "post")
    }
    try:
        pre, post = (normalised_batch(rows, len(rows)) for rows in natural.values())
        earlier = _earlier(dataset, sequence - 1, resolution)
    except MetadataError as error:
        raise ConfigError(
            f"the dataset's columns metadata_pre, _post, _history: {error} Rebuild it, or set model.metadata none."
        ) from error
    return Metadata({"pre": pre, "post": post}, earlier, dropout, dropout_all)


def _earlier(dataset: Dataset, count: int, resolution: int) -> Tensor:
    """(patches, count, 7) of the newest images of every history."""
    if not count:
        return torch.empty(len(dataset), 0, len(METADATA_FIELDS))
    rows = zip(dataset["metadata_history"][:], dataset["size"][:], strict=True)
    natural = [[shown_metadata(image, size, resolution) for image in newest(history, count)] for history, size in rows]
    return normalised_batch(natural, len(natural)).movedim(-1, 1).contiguous()
