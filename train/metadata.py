"""What the networks are told of the images of an example: the dataset's metadata, some of it dropped (law 1)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from data.condition import shown_metadata
from models.base import Base
from models.metadata import METADATA_FIELDS, MetadataError, normalised_batch
from train.config import ConfigError, ModelConfig
from train.views import Phase, View


@dataclass(frozen=True)
class Metadata:
    """The metadata of every image of a dataset, and how much of it is dropped."""

    rows: Mapping[Phase, Tensor]  # (patches, 7) float32, normalised, NaN = unknown
    dropout: float  # share of numbers that become unknown, each by itself
    dropout_all: float  # share of images of which everything becomes unknown at once

    def draw(self, rng: np.random.Generator, view: View) -> tuple[dict[str, Tensor], NDArray[np.bool_]]:
        """What one example is told; target and condition are dropped independently.

        Returns:
            `metadata` (7,) of the image to make and `cond_metadata` (7,) of the one that is shown, and which of the
            numbers were dropped, (2, 7).
        """
        dropped = rng.random((2, len(METADATA_FIELDS))) < self.dropout
        dropped |= rng.random((2, 1)) < self.dropout_all
        phases = {"metadata": view.target, "cond_metadata": view.source}
        told = {
            name: self.rows[phase][view.patch].masked_fill(torch.from_numpy(row), torch.nan)
            for (name, phase), row in zip(phases.items(), dropped, strict=True)
        }
        return told, dropped


def uses_metadata(model: ModelConfig, base: Base) -> bool:
    """Whether a network of the run is told metadata: the base's UNet, a ControlNet, or both."""
    return model.metadata == "control" or (model.metadata == "base" and bool(base.config("unet").get("use_metadata")))


def metadata_of(dataset: Dataset, resolution: int, dropout: float, dropout_all: float) -> Metadata:
    """The metadata of a dataset whose patches are shown at a resolution (px), checked and normalised.

    Raises:
        ConfigError: a number is out of its range.
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
    except MetadataError as error:
        raise ConfigError(
            f"the dataset's columns metadata_pre, metadata_post: {error} Build it again, or set model.metadata none."
        ) from error
    return Metadata({"pre": pre, "post": post}, dropout, dropout_all)
