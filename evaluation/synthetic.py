"""The synthetic pairs that `pre2post synthesize` made, as a source of a damage model's training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.storage import sha256
from evaluation.damage_examples import Pair, Source, remembered
from evaluation.errors import EvaluationError
from evaluation.seen import shown_by, trained_scenes
from generate.output import lines_of
from generate.synthesize import CARD, FORMAT, MASKS, POST, PRE


def synthetic_source(folder: Path, side: int, patch_px: int) -> Source:
    """Every pair of the folder.

    Args:
        folder: a finished run of `pre2post synthesize`.
        side: of the model's images, px.
        patch_px: side of the patches that they show.

    Raises:
        EvaluationError: the folder is none, unfinished, or of another size.
    """
    card = read_synthetic(folder)
    found = (card.get("format"), card.get("resolution"), card.get("patch_px"))
    if found != (FORMAT, side, patch_px):
        raise EvaluationError(
            f"{folder / CARD}: patches of {found[2]} px shown at {found[1]} px, but the model is trained on patches of "
            f"{patch_px} px shown at {side} px. Name the same with --resolution."
        )
    made = lines_of(folder / POST)
    for file, line in made.items():
        mask = folder / MASKS / f"{line['patch_id']}.png"
        if not mask.is_file() or sha256(mask) != line.get("mask_sha256"):
            raise EvaluationError(
                f"{mask}: not the label that {POST}/{file} was made with. Run pre2post synthesize into {folder} again, "
                "with --overwrite."
            )
    if len(made) != card.get("pairs"):
        raise EvaluationError(
            f"{folder}: {CARD} speaks of {card.get('pairs')} pairs, but {POST}/ holds {len(made)}. Run the same "
            "pre2post synthesize again to finish it."
        )
    return Source("synthetic", remembered([_reader(folder, line["patch_id"], file) for file, line in made.items()]))


def read_synthetic(folder: Path) -> dict[str, Any]:
    """How the pairs were made.

    Raises:
        EvaluationError: the folder is none of ours, or unfinished.
    """
    path = folder / CARD
    if not path.is_file():
        raise EvaluationError(
            f"synthetic {folder}: there is no {CARD}. Expected a finished folder of pre2post synthesize; run the same "
            "command again to finish one."
        )
    card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
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


def _reader(folder: Path, name: str, file: str) -> Callable[[], Pair]:
    return lambda: Pair(
        _pixels(folder / PRE / f"{name}.png"), _pixels(folder / POST / file), _pixels(folder / MASKS / f"{name}.png")
    )


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=("PNG",)) as image:
        return np.array(image)
