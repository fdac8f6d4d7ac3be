"""The views of a dataset, and the captions of each with their sampling weights."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch import Tensor

from data.imagery.pixels import resize_rgb
from train.errors import ConfigError

Phase = Literal["pre", "post"]
Direction = Literal["future", "past", "both"]


class View(NamedTuple):
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


class Shown(NamedTuple):
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


class Captions(NamedTuple):
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
    wordings = {kind: wordings_of(dataset, *kind) for kind in kinds}
    options = [{style: wordings[style, view.target, view.mirrored][view.patch] for style in styles} for view in views]
    texts = sorted({text for view in options for found in view.values() for text in found} | {""})
    row_of = {text: row for row, text in enumerate(texts)}
    shares: dict[tuple[int, ...], NDArray[np.float64]] = {}  # by the number of captions of each style
    captions = []
    for view in options:
        counts = tuple(map(len, view.values()))
        if counts not in shares:
            weights = np.repeat([styles[style] / max(len(found), 1) for style, found in view.items()], counts)
            shares[counts] = weights.cumsum() / weights.sum()
        captions.append(Captions([row_of[text] for found in view.values() for text in found], shares[counts]))
    return texts, captions


def wordings_of(dataset: Dataset, style: str, target: Phase, mirrored: bool) -> list[list[str]]:
    """For each patch, the texts of a style that describe its pre or post image as seen in the view."""
    listed = dataset.select_columns(["captions"]).with_format("arrow")[:]["captions"]
    found = [texts for chunk in listed.chunks for texts in _texts(chunk, style, target, mirrored)]
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


def _texts(captions: pa.ListArray, style: str, target: Phase, mirrored: bool) -> list[list[str | None]]:
    """The same, with None where one does not describe the view; by Arrow, as a dataset has millions of captions."""
    entries, rows = captions.flatten(), pc.list_parent_indices(captions)
    # Datasets built before captions mentioned directions have no mirrored wording: their texts suit both views.
    wording = "mirrored" if mirrored and entries.type.get_field_index("mirrored") >= 0 else "text"
    kinds = (pc.equal(pc.struct_field(entries, name), value) for name, value in (("style", style), ("target", target)))
    chosen = pc.and_(*kinds)
    found: list[list[str | None]] = [[] for _ in range(len(captions))]
    texts = pc.struct_field(entries, wording)
    for row, text in zip(rows.filter(chosen).to_pylist(), texts.filter(chosen).to_pylist(), strict=True):
        found[row].append(text)
    return found


def mirror(pixels: NDArray[np.uint8], mirrored: bool) -> Tensor:
    """(H, W, K) -> (K, H, W), flipped left to right if the view is mirrored."""
    channels_first = torch.from_numpy(pixels).permute(2, 0, 1)
    return channels_first.flip(-1) if mirrored else channels_first.contiguous()
