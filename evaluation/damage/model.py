"""A damage model on disk and in use: `model.safetensors` and `model.json`, and classes for pairs of images."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from data.disk import look
from data.documents import read_document
from data.errors import fault
from data.storage import locked, whole_folder
from data.strict_json import as_json
from evaluation.damage.examples import Pair
from evaluation.damage.network import SIDE_MULTIPLE, DamageNetwork, classify
from evaluation.damage.score import Counts, count
from evaluation.errors import EvaluationError
from generate.images.items import batched
from generate.sampling import MOST_PX

WEIGHTS, CARD = "model.safetensors", "model.json"
FORMAT = "pre2post-damage-model"
BATCH = 16  # pairs that are classified at once

Pixels = NDArray[np.uint8]


class TrainedOn(TypedDict, total=False):
    """Which dataset pairs were taken from."""

    dataset_fingerprint: str
    split: str


class Card(TrainedOn):
    """model.json."""

    format: Literal["pre2post-damage-model"]
    width: Annotated[int, Field(ge=1, le=1024)]
    resolution: Annotated[int, Field(ge=SIDE_MULTIPLE, le=MOST_PX, multiple_of=SIDE_MULTIPLE)]
    patch_px: Annotated[int, Field(ge=1, le=1 << 14)]
    synthetic: NotRequired[TrainedOn | None]


CARDS = TypeAdapter(Card)


@dataclass(frozen=True)
class DamageCard:
    """What must be known of a model to use it."""

    width: int  # of the network
    resolution: int  # side of its images, px
    patch_px: int  # side of the patches they were resized from; the ratio is the scale


@dataclass(frozen=True)
class DamageModel:
    """A trained network and its card."""

    network: DamageNetwork
    card: DamageCard

    @torch.inference_mode()
    def classify(self, pre: Sequence[Pixels], post: Sequence[Pixels]) -> NDArray[np.uint8]:
        """(B, side, side) uint8, 0 no building, 1 to 4 its damage, of images (side, side, 3) uint8."""
        device = PartialState().device
        logits = self.network.to(device).eval()(_tensor(pre).to(device), _tensor(post).to(device))
        return np.asarray(classify(logits).cpu())


def score_pairs(model: DamageModel, pairs: Iterable[Pair]) -> Counts:
    """(pairs, 5, 3): the counts of each pair."""
    return np.stack(list(_counts(model, pairs)))


def _counts(model: DamageModel, pairs: Iterable[Pair]) -> Iterator[Counts]:
    for batch in batched(pairs, BATCH):
        classes = model.classify([pair.pre for pair in batch], [pair.post for pair in batch])
        yield from (count(found, pair.damage) for found, pair in zip(classes, batch, strict=True))


def check_resolution(resolution: int) -> None:
    """Stop unless images of this side fit the network."""
    if resolution < SIDE_MULTIPLE or resolution % SIDE_MULTIPLE:
        raise EvaluationError(
            f"resolution is {resolution} px; the damage model needs a multiple of {SIDE_MULTIPLE}, such as 128 or 256."
        )


@contextmanager
def sole_maker(out: Path) -> Iterator[None]:
    """Check before training that `out` does not exist and can be written, and keep other commands from creating it.

    Raises:
        EvaluationError: `out` exists already.
        DataError: nothing can be written there, or another command is at work.
    """
    with locked(out.absolute().parent, name=f".{out.name}.lock", out=out):
        if out.exists():
            raise EvaluationError(f"out {out} exists already. Name a folder that does not exist yet.")
        look(out)
        yield


def keep_damage_model(out: Path, model: DamageModel, facts: dict[str, Any]) -> None:
    """Save a trained model; if `out` can no longer be written, elsewhere, so that hours of work are not lost.

    Raises:
        EvaluationError: it was saved elsewhere; the message says where.
    """
    try:
        save_damage_model(out, model, facts)
    except (OSError, SafetensorError) as error:
        for place in (Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
            with suppress(OSError, SafetensorError):
                rescued = Path(tempfile.mkdtemp(prefix="pre2post-", dir=place)) / out.name
                save_damage_model(rescued, model, facts)
                raise EvaluationError(
                    f"out {out} could not be written ({fault(error) or error}). The trained model was saved to "
                    f"{rescued}: move it from there."
                ) from error
        raise


def save_damage_model(out: Path, model: DamageModel, facts: dict[str, Any]) -> None:
    """Write a folder atomically.

    Args:
        out: must not exist.
        model: to write.
        facts: of the training, for the card.
    """
    with whole_folder(out, {WEIGHTS, CARD}.__contains__) as partial:
        save_file({name: weight.contiguous() for name, weight in model.network.state_dict().items()}, partial / WEIGHTS)
        card = {"format": FORMAT, "format_version": 1, **asdict(model.card), **facts}
        (partial / CARD).write_text(as_json(card), encoding="utf-8")


def read_card(folder: Path) -> Card:
    """model.json of a damage model.

    Raises:
        EvaluationError: the folder is not a damage model, or its card is not ours.
    """
    path = folder / CARD
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise EvaluationError(
            f"damage model {folder}: there is no {CARD} with {WEIGHTS}. Train one: pre2post damage-model "
            f"--dataset DATASET --out {folder}"
        )
    fix = "Expected what pre2post damage-model writes: copy the folder again, or train again."
    return read_document(path, CARDS, fix, EvaluationError)


def load_damage_model(folder: Path) -> DamageModel:
    """Read what `save_damage_model` wrote.

    Raises:
        EvaluationError: the folder is not a damage model, or its weights do not match its card.
    """
    found = read_card(folder)
    card = DamageCard(found["width"], found["resolution"], found["patch_px"])
    network = DamageNetwork(card.width)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # the libraries raise many kinds
        why = str(error).strip().partition("\n")[0]
        raise EvaluationError(f"damage model {folder}: its files do not fit ({why}). Copy it again.") from None
    return DamageModel(network, card)


def _tensor(images: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
