"""What a damage model is trained on: pre image, post image, damage mask, each example a function of (seed, ordinal)."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.examples.sampler import example_rng, view_of
from data.imagery.pixels import resize_mask, resize_rgb
from data.schema import DAMAGE_VALUES, WITH_MASK
from evaluation.errors import EvaluationError

COLUMNS = ["pre", "post", "damage_mask"]
UNKNOWN = DAMAGE_VALUES["un-classified"]
KEPT_BYTES = 2 << 30  # of decoded images, kept in memory

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """One labelled pair at the model's resolution."""

    pre: Pixels  # (side, side, 3)
    post: Pixels
    damage: Pixels  # (side, side): DAMAGE_VALUES, 0 no building


@dataclass(frozen=True)
class Source:
    """Pairs of one kind, read as they are needed."""

    name: str
    pairs: Sequence[Callable[[], Pair]]
    scenes: Sequence[str] = ()  # of each pair; () if not needed
    unlabelled: int = 0  # patches left out


def real_source(rows: datasets.Dataset, side: int, name: str = "real") -> Source:
    """The labelled patches of a split.

    Args:
        rows: of a built dataset.
        side: of the model's input, px.
        name: for tables.
    """
    facts = rows.select_columns(["scene_id", "labels"])[:]
    labelled = [i for i, labels in enumerate(facts["labels"]) if labels in WITH_MASK]
    images = rows.select_columns(COLUMNS)
    readers = [partial(_read_row, images, position, side) for position in labelled]
    return Source(name, remembered(readers), [facts["scene_id"][i] for i in labelled], len(rows) - len(labelled))


def of_scenes(source: Source, scenes: Collection[str]) -> Source:
    """Those pairs of a source that show one of the scenes."""
    pairs = [pair for pair, scene in zip(source.pairs, source.scenes, strict=True) if scene in scenes]
    return Source(source.name, pairs)


def footprints_only(source: Source) -> Source:
    """The same places before the event: where buildings are is known, their damage is not."""
    return Source("footprints", [partial(_without_damage, pair) for pair in source.pairs])


def remembered(readers: Sequence[Callable[[], Pair]]) -> list[Callable[[], Pair]]:
    """The same readers, with up to KEPT_BYTES of what was read kept in memory."""
    kept: dict[int, Pair] = {}

    def read(index: int) -> Pair:
        if index in kept:
            return kept[index]
        pair = readers[index]()
        if (len(kept) + 1) * (pair.pre.nbytes + pair.post.nbytes + pair.damage.nbytes) <= KEPT_BYTES:
            kept[index] = pair
        return pair

    return [partial(read, index) for index in range(len(readers))]


def _read_row(rows: datasets.Dataset, position: int, side: int) -> Pair:
    row = rows[position]
    if row["damage_mask"] is None:
        raise EvaluationError("a patch has labels, but no damage mask. Copy the dataset again, or rebuild it.")
    return Pair(resize_rgb(row["pre"], side), resize_rgb(row["post"], side), resize_mask(row["damage_mask"], side))


def _without_damage(pair: Callable[[], Pair]) -> Pair:
    whole = pair()
    return Pair(whole.pre, whole.pre, np.where(whole.damage > 0, UNKNOWN, 0).astype(np.uint8))


class Examples:
    """Example `ordinal`: sources take turns, so that each has the same share whatever its size."""

    def __init__(self, sources: Sequence[Source], seed: int) -> None:
        self.sources, self.seed = sources, seed

    def __getitem__(self, ordinal: int) -> tuple[Tensor, Tensor, Tensor]:
        """Pre and post (3, side, side), damage (side, side), all uint8, turned and mirrored alike."""
        turn, which = divmod(ordinal, len(self.sources))
        pairs = self.sources[which].pairs
        pair = pairs[view_of(self.seed, turn, len(pairs))]()
        rng = example_rng(self.seed, ordinal)
        quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        pre, post, damage = (_turned(part, quarters, mirrored) for part in (pair.pre, pair.post, pair.damage))
        return pre.permute(2, 0, 1), post.permute(2, 0, 1), damage


def _turned(pixels: Pixels, quarters: int, mirrored: bool) -> Tensor:
    turned = np.rot90(pixels, quarters)
    return torch.from_numpy(np.ascontiguousarray(turned[:, ::-1] if mirrored else turned))
