"""A finished set of `pre2post region` as a source of a damage model's training, cut into the windows it was made in."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from data.documents import read_document
from data.imagery.pixels import resize_mask, resize_rgb
from data.patches.tiles import Window, grid
from data.storage import sha256
from evaluation.damage.examples import Pair, Source, remembered
from evaluation.errors import EvaluationError
from generate.errors import GenerateError
from generate.region.plan import Plan
from generate.region.records import SET, Record, all_records, complete
from generate.region.release import SPLIT
from models.checkpoint import TrainedOn

Side = Annotated[int, Field(ge=8, le=1 << 14)]


class SetImage(TypedDict):
    """How its images were sampled."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    size: Side  # of the network's input
    window: Side  # of the tile that fills it


class SetFacts(TypedDict):
    """The fields of set.json that are read."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    format: Literal["pre2post-region"]
    plan: Plan
    image: SetImage
    checkpoint_trained_on: TrainedOn


FACTS = TypeAdapter(SetFacts)


def is_region_set(folder: Path) -> bool:
    """Whether `pre2post region` began it."""
    return (folder / SET).is_file()


def region_card(folder: Path) -> dict[str, Any]:
    """The fields of `SyntheticCard`; a set shows no scene of a built dataset.

    Raises:
        EvaluationError: it is damaged, or unfinished.
    """
    facts = _facts(folder)
    return {
        "format": facts["format"],
        "dataset_fingerprint": "",
        "split": "",
        "set_sha256": sha256(folder / SET),
        "resolution": facts["image"]["size"],
        "patch_px": facts["image"]["window"],
        "pairs": len(_windows(facts)) * len(_kept(folder, facts)),
        "trained_on": facts["checkpoint_trained_on"],
    }


def region_pairs(folder: Path) -> Source:
    """Every window of every pair that was kept, at the side of the network's input."""
    facts = _facts(folder)
    readers: list[Callable[[], Pair]] = [
        partial(_read, folder, record, window, facts["image"]["size"])
        for record in _kept(folder, facts)
        for window in _windows(facts)
    ]
    return Source("synthetic", remembered(readers))


def _facts(folder: Path) -> SetFacts:
    return read_document(folder / SET, FACTS, "Make the set again with pre2post region.", EvaluationError)


def _windows(facts: SetFacts) -> list[Window]:
    return grid(facts["plan"].tile_px, facts["plan"].tile_px, facts["image"]["window"])


def _kept(folder: Path, facts: SetFacts) -> list[Record]:
    shards = facts["plan"].shards
    if missing := sorted(set(range(shards)) - complete(folder)):
        raise EvaluationError(
            f"synthetic {folder}: {len(missing):,} of {shards:,} shards are not done, first {missing[0]}. Run the same "
            "pre2post region again to finish it."
        )
    try:
        return [record for record in all_records(folder, shards) if record["outcome"] == "kept"]
    except GenerateError as error:
        raise EvaluationError(str(error)) from error


def _read(folder: Path, record: Record, window: Window, side: int) -> Pair:
    scene_id, box = record["scene_id"], (window.col, window.row, window.col + window.size, window.row + window.size)
    images = []
    for name in (
        f"images/{scene_id}_pre_disaster.png",
        f"images/{scene_id}_post_disaster.png",
        f"targets/{scene_id}_post_disaster_target.png",
    ):
        path = folder / SPLIT / name
        if not path.is_file() or sha256(path) != record["files"].get(f"{SPLIT}/{name}"):
            raise EvaluationError(f"{path}: not the file of the record. Make the set again with pre2post region.")
        with Image.open(path, formats=("PNG",)) as image:
            images.append(image.crop(box))
    pre, post, target = images
    return Pair(resize_rgb(pre, side), resize_rgb(post, side), resize_mask(target, side))
