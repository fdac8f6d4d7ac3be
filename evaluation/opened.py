"""What an evaluation opens before anything is made, and the facts on it in the outputs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from data.dataset.open import fingerprint
from data.dataset.patch_list import listed_positions, read_patch_list
from data.storage import sha256
from evaluation.damage.fidelity import check_scale
from evaluation.damage.model import DamageModel, load_damage_model
from evaluation.damage.outside import OutsideModel, load_outside, named_function
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


def listed_patches(path: Path | None, rows: Dataset, split: str) -> tuple[list[str], list[str]]:
    """What `--patches` lists, and a note on what the split lacks of it."""
    if path is None:
        return [], []
    names = read_patch_list(path)
    _, absent = listed_positions(rows, names, f"split {split}")
    if not absent:
        return names, []
    return names, [
        f"{len(absent):,} of the {len(names):,} patches in {path.name} are not in split {split}, first {absent[0]}: "
        "the numbers are those of the others."
    ]


def damage_judge(name: str | None, side: int, patches: Dataset) -> DamageModel | OutsideModel | None:
    """The damage model, if it was trained at the scale of the images; whose scale is right for somebody else's?"""
    if name is None:
        return None
    if theirs := named_function(name):
        return load_outside(*theirs)
    model = load_damage_model(Path(name))
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


def data_facts(dataset: Path, split: str, events: str, patches: Path | None, limit: int | None) -> dict[str, Any]:
    """What was measured on."""
    return {
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "split": split,
        "events": events,
        "patches": patches and {"file": str(patches), "sha256": sha256(patches)},
        "limit": limit,
    }
