"""The views of a dataset, and the captions of each with their sampling weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from data.imagery.pixels import resize_rgb
from train.errors import ConfigError

Phase = Literal["pre", "post"]
Direction = Literal["future", "past", "both"]


@dataclass(frozen=True)
class View:
    """A patch, mirrored or not, in one direction of time."""

    patch: int  # row of the dataset
    mirrored: bool
    past: bool = False  # from post to pre

    @property
    def target(self) -> Phase:
        """The image that the network learns to generate."""
        return "pre" if self.past else "post"

    @property
    def source(self) -> Phase:
        """The image that it is conditioned on."""
        return "post" if self.past else "pre"


@dataclass(frozen=True)
class Shown:
    """One image of a patch in a view."""

    images: Dataset  # columns `pre`, `post`
    patch: int
    phase: Phase
    mirrored: bool
    resolution: int  # px
    sha256: str  # of its file

    def pixels(self) -> Tensor:
        """(3, resolution, resolution) uint8."""
        return mirror(resize_rgb(self.images[self.patch][self.phase], self.resolution), self.mirrored)


@dataclass(frozen=True)
class Captions:
    """The captions of a view."""

    rows: list[int]  # in the list of all texts
    shares: NDArray[np.float64]  # cumulative sampling weights; the last is 1

    def draw(self, rng: np.random.Generator) -> int:
        """Row of one caption."""
        position = int(np.searchsorted(self.shares, rng.random(), side="right"))
        return self.rows[min(position, len(self.rows) - 1)]


def views_of(patches: int, *, mirror: bool, direction: Direction) -> list[View]:
    """Every view of a dataset; `both` doubles their number."""
    pasts = {"future": [False], "past": [True], "both": [False, True]}[direction]
    sides = (False, True) if mirror else (False,)
    return [View(patch, mirrored, past) for past in pasts for mirrored in sides for patch in range(patches)]


def images_of(dataset: Dataset, kinds: Sequence[tuple[Phase, bool]], resolution: int) -> list[Shown]:
    """Every image of a dataset in every kind, (phase, mirrored)."""
    images = dataset.select_columns(["pre", "post"])
    hashes: dict[Phase, list[str]] = {"pre": dataset["pre_sha256"][:], "post": dataset["post_sha256"][:]}
    return [
        Shown(images, patch, phase, mirrored, resolution, hashes[phase][patch])
        for phase, mirrored in kinds
        for patch in range(len(dataset))
    ]


def captions_of_views(
    dataset: Dataset, views: Sequence[View], styles: Mapping[str, float]
) -> tuple[list[str], list[Captions]]:
    """All texts, the empty one among them, and for each view its captions.

    A style is drawn in proportion to its weight; within a style, captions are equally likely.

    Raises:
        ConfigError: a patch has no caption of a style.
    """
    kinds = sorted({(style, view.target, view.mirrored) for style in styles for view in views})
    listed = dataset["captions"][:]
    wordings = {kind: wordings_of(dataset, *kind, listed) for kind in kinds}
    options = [{style: wordings[style, view.target, view.mirrored][view.patch] for style in styles} for view in views]
    texts = sorted({text for view in options for found in view.values() for text in found} | {""})
    row_of = {text: row for row, text in enumerate(texts)}
    captions = []
    for view in options:
        weights = np.array([styles[style] / len(found) for style, found in view.items() for _ in found])
        rows = [row_of[text] for found in view.values() for text in found]
        captions.append(Captions(rows, weights.cumsum() / weights.sum()))
    return texts, captions


def wordings_of(
    dataset: Dataset,
    style: str,
    target: Phase,
    mirrored: bool,
    listed: Sequence[list[dict[str, Any]]] | None = None,
) -> list[list[str]]:
    """For each patch, the texts of a style that describe its pre or post image as seen in the view.

    `listed`: the column `captions` of the dataset, if it has been read already.
    """
    # Datasets built before captions mentioned directions have no mirrored wording: their texts suit both views.
    found = [
        [
            entry.get("mirrored", entry["text"]) if mirrored else entry["text"]
            for entry in captions
            if entry["style"] == style and entry["target"] == target
        ]
        for captions in listed or dataset["captions"][:]
    ]
    fitting = [[text for text in texts if text is not None] for texts in found]
    for row, texts in enumerate(fitting):
        if not texts and found[row]:
            raise ConfigError(
                f"data.mirror is true, but no {style!r} caption of patch {dataset[row]['patch_id']} describes its "
                "mirrored view. Set data.mirror to false, or give `mirrored` in the file of captions."
            )
        if not texts:
            styles = sorted({entry["style"] for entry in dataset[row]["captions"] if entry["target"] == target})
            raise ConfigError(
                f"data.caption_styles names {style!r}, but patch {dataset[row]['patch_id']} has only {styles} for its "
                f"{target} image. Choose one of these, or rebuild the dataset."
            )
    return fitting


def mirror(pixels: NDArray[np.uint8], mirrored: bool) -> Tensor:
    """(H, W, K) -> (K, H, W), flipped left to right if the view is mirrored."""
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
    return channels_first.flip(-1) if mirrored else channels_first.contiguous()
