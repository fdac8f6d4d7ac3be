"""What an evaluation opens before anything is made, and the facts on it in the outputs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from data.dataset.open import fingerprint
from evaluation.damage.fidelity import check_scale
from evaluation.damage.model import DamageModel, load_damage_model
from evaluation.errors import EvaluationError
from generate.checkpoint import Checkpoint, open_checkpoint
from generate.sampling import Sampling


def evaluated(folder: Path, caption_style: str | None) -> Checkpoint:
    """A checkpoint that makes post images, which are measured here."""
    trained = open_checkpoint(folder)
    if trained.direction == "past":
        raise EvaluationError(
            f"{trained.folder}: trained with data.direction past, it makes pre images; the measures here compare "
            "post images. Look at what it makes with pre2post generate."
        )
    return replace(trained, caption_style=caption_style or trained.caption_style)


def damage_judge(folder: Path | None, side: int, patches: Dataset) -> DamageModel | None:
    """The damage model, if it was trained at the scale of the images."""
    if folder is None:
        return None
    model = load_damage_model(folder)
    check_scale(model, side, int(patches[0]["size"]))
    return model


def checkpoint_facts(trained: Checkpoint, base: str | None, sampling: Sampling) -> dict[str, Any]:
    """A checkpoint and how it was sampled; `base` is where its base is now, if elsewhere."""
    return {
        **trained.described(),
        "base": base or trained.base,
        "resolution": trained.resolution,
        "caption_style": trained.caption_style,
        **sampling.described(trained.resolution),
        "seed": sampling.seed,
        "samples": sampling.samples,
    }


def data_facts(dataset: Path, split: str, events: str, limit: int | None) -> dict[str, Any]:
    """What was measured on."""
    return {
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "split": split,
        "events": events,
        "limit": limit,
    }
