"""Synthetic pairs as a source of a damage model's training: of `pre2post synthesize`, or a set of `pre2post region`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter
from typing_extensions import NotRequired, TypedDict

from data.documents import Count, read_document
from data.names import SCENE
from data.storage import sha256
from evaluation.damage.examples import Pair, Source, remembered
from evaluation.damage.region_set import is_region_set, region_card, region_pairs
from evaluation.errors import EvaluationError
from evaluation.seen import shown_by, trained_scenes
from generate.output import lines_of
from generate.sampling import MOST_PX
from generate.synthesize import CARD, MASKS, POST, PRE
from models.checkpoint import TrainedOn


class SyntheticCard(TypedDict):
    """The fields of synthetic.json that are read; the rest is kept."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    format: Literal["pre2post-synthetic", "pre2post-region"]
    dataset_fingerprint: str
    split: str
    resolution: Annotated[int, Field(ge=8, le=MOST_PX)]
    patch_px: Annotated[int, Field(ge=1, le=1 << 14)]
    pairs: Count
    trained_on: NotRequired[TrainedOn]  # earlier versions did not say


CARDS = TypeAdapter(SyntheticCard)


def synthetic_source(folder: Path, side: int, patch_px: int) -> Source:
    """Every pair of the folder.

    Args:
        folder: a finished run of `pre2post synthesize`, or a finished set of `pre2post region`.
        side: of the model's images, px.
        patch_px: side of the patches that they show.

    Raises:
        EvaluationError: the folder is not one, is unfinished, or of another size.
    """
    card = read_synthetic(folder)
    if (card["resolution"], card["patch_px"]) != (side, patch_px):
        raise EvaluationError(
            f"{folder}: patches of {card['patch_px']} px shown at {card['resolution']} px, but the model is "
            f"trained on patches of {patch_px} px shown at {side} px. Name the same with --resolution."
        )
    if is_region_set(folder):
        return region_pairs(folder)
    made = lines_of(folder / POST)
    for file, line in made.items():
        if not re.fullmatch(SCENE, str(line.get("patch_id", ""))):
            raise EvaluationError(f"{folder / POST}: {file} is listed without a valid patch_id.")
        mask = folder / MASKS / f"{line['patch_id']}.png"
        if not mask.is_file() or sha256(mask) != line.get("mask_sha256"):
            raise EvaluationError(
                f"{mask}: not the label that {POST}/{file} was made with. Run pre2post synthesize into {folder} again, "
                "with --overwrite."
            )
    if len(made) != card["pairs"]:
        raise EvaluationError(
            f"{folder}: {CARD} speaks of {card['pairs']} pairs, but {POST}/ holds {len(made)}. Run the same "
            "pre2post synthesize again to finish it."
        )
    return Source(
        "synthetic", remembered([_reader(folder, line["patch_id"], file, side) for file, line in made.items()])
    )


def read_synthetic(folder: Path) -> SyntheticCard:
    """How the pairs were made.

    Raises:
        EvaluationError: the folder is not ours, or unfinished.
    """
    if is_region_set(folder):
        return CARDS.validate_python(region_card(folder))
    path = folder / CARD
    if not path.is_file():
        raise EvaluationError(
            f"synthetic {folder}: there is no {CARD}. Expected a finished folder of pre2post synthesize or region; run "
            "the same command again to finish one."
        )
    card = read_document(path, CARDS, "Run the same pre2post synthesize again.", EvaluationError)
    if "trained_on" not in card:
        raise EvaluationError(
            f"{path}: it does not say what its ControlNet was trained on, so a test on the same places would not be "
            "noticed. Run the same pre2post synthesize again; images that are there are kept."
        )
    return card


def seen_by_synthetic(folder: Path, dataset: Path) -> dict[str, set[str]]:
    """The scenes of a dataset that synthetic pairs show, and those that their ControlNet was trained on."""
    card = read_synthetic(folder)
    return {
        f"shown by the synthetic pairs of {folder} (made from split {card['split']})": trained_scenes(
            shown_by(card), dataset
        ),
        f"trained on by the ControlNet that made {folder}": trained_scenes(card["trained_on"], dataset),
    }


def _reader(folder: Path, name: str, file: str, side: int) -> Callable[[], Pair]:
    return lambda: Pair(
        _pixels(folder / PRE / f"{name}.png", side, "RGB"),
        _pixels(folder / POST / file, side, "RGB"),
        _pixels(folder / MASKS / f"{name}.png", side, "L"),
    )


def _pixels(path: Path, side: int, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if (image.size, image.mode) != ((side, side), mode):
                raise ValueError(f"{image.width} x {image.height} px of {image.mode}")
            return np.array(image)
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise EvaluationError(
            f"{path}: expected a PNG of {side} x {side} px of {mode} ({error}). Run the same pre2post synthesize "
            "again, with --overwrite."
        ) from error
