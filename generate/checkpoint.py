"""A checkpoint folder and the base it was trained on, found and checked before anything is generated."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.storage import sha256
from generate.errors import GenerateError
from generate.sampling import Sampling
from models import Base, BaseError, load_base
from models.checkpoint import (
    MANIFEST,
    CheckpointError,
    TrainedOn,
    named_checkpoint,
    resolve_checkpoint,
    trained_on,
    trained_state,
)
from models.families import FAMILIES
from models.samplers import DIFFUSION
from models.trained import CONTROLNET, CONTROLNET_LORA, CONV_IN, LORA, T2I_ADAPTER, weights_in

PARTS = {  # what was trained -> the folders it must have
    "controlnet": [CONTROLNET],
    "controlnet-lora": [CONTROLNET_LORA],
    "t2i-adapter": [T2I_ADAPTER],
    "t2i-adapter-light": [T2I_ADAPTER],
    "lora": [LORA],
    "controlnet+lora": [CONTROLNET, LORA],
    "lora+concat": [LORA, CONV_IN],
}


@dataclass(frozen=True)
class Checkpoint:
    """One intact checkpoint folder and what generation needs of its state.json."""

    folder: Path
    step: int
    base: str  # name or folder of the base it was trained on
    family: str | None  # Family.key of that base; None = an old checkpoint
    unet_sha256: str  # Base.network_hash of that base
    resolution: int  # side of the images it was trained on, px
    patch_px: int | None  # side of the patches they were resized from; None = several, or an old checkpoint
    gsd_m: float | None  # metres per pixel of these images, their median; None = unknown, or an old checkpoint
    caption_style: str
    prompt: str | None  # a caption that it was trained with; None = an old checkpoint
    trained: str  # a key of PARTS
    condition: str  # of the ControlNet: pixels, latents, pixels+mask
    direction: str  # future, past, both
    text_chunks: int  # 77-token chunks of a prompt
    zero_terminal_snr: bool  # the noise schedule was rescaled to zero terminal SNR
    base_bits: int | None  # of the base's linear layers in training; None = those of its type
    metadata: bool  # the networks were conditioned on metadata
    sequence: int  # pre-event images that it is conditioned on
    trained_on: TrainedOn

    @property
    def weights(self) -> Path:
        """The folder that has the PARTS which are used: the EMA weights if there are any."""
        return weights_in(self.folder)

    def described(self) -> dict[str, Any]:
        """Fields that identify the checkpoint in manifests and tags; its hash covers every file in it."""
        return {
            "checkpoint": str(self.folder),
            "checkpoint_sha256": sha256(self.folder / MANIFEST),
            "step": self.step,
            "weights": "ema" if self.weights.name == "ema" else self.trained,
            "base_unet_sha256": self.unet_sha256,
        }


def open_checkpoint(path: Path) -> Checkpoint:
    """Find and check what the user named: a run folder, one of its checkpoints, or one that ships.

    Raises:
        CheckpointError: there is no intact checkpoint, or its state.json was not written by a training run.
    """
    folder = resolve_checkpoint(named_checkpoint(path))
    state = trained_state(folder)
    checkpoint = Checkpoint(
        folder=folder,
        step=state["step"],
        base=state["base"]["name"],
        family=state["base"].get("family"),
        unet_sha256=state["base"]["unet_sha256"],
        resolution=state["resolution"],
        patch_px=state.get("patch_px"),
        gsd_m=state.get("gsd_m"),
        caption_style=state["caption_style"],
        prompt=state.get("prompt"),
        trained=state["trained"],
        condition=state["condition"],
        direction=state["direction"],
        text_chunks=state["text_chunks"],
        zero_terminal_snr=state["zero_terminal_snr"],
        base_bits=state.get("base_bits"),
        metadata=state.get("metadata", "none") != "none",
        sequence=state.get("sequence", 1),
        trained_on=trained_on(state),
    )
    missing = [part for part in PARTS[checkpoint.trained] if not (checkpoint.weights / part).is_dir()]
    if state["config"].get("train", {}).get("ema_decay", 0) > 0 and checkpoint.weights == folder:
        missing.append("ema")  # the live weights would give different images
    if checkpoint.base_bits and importlib.util.find_spec("bitsandbytes") is None:
        raise CheckpointError(
            f"{folder}: trained beside a base in {checkpoint.base_bits} bits, which needs the package bitsandbytes: "
            "pip install -e '.[bitsandbytes]'"
        )
    if missing:
        raise CheckpointError(f"{checkpoint.weights}: lacks {', '.join(missing)}. Use another checkpoint of the run.")
    return checkpoint


def open_base(checkpoint: Checkpoint, name: str | None = None) -> Base:
    """The base of the training; any other would silently give garbage.

    Args:
        checkpoint: what `open_checkpoint` found.
        name: where the base is now, if not where the training run found it.

    Raises:
        CheckpointError: the base of the training is not there, or the one named differs from it.
        BaseError: the one named cannot be loaded.
    """
    try:
        # The author of a checkpoint must not decide what is downloaded here.
        base = load_base(name or checkpoint.base, download=name is not None)
    except BaseError as error:
        if name is not None:
            raise
        raise CheckpointError(
            f"{checkpoint.folder}: its base is not where the training found it. {error} If it has moved or is to be "
            f"downloaded, name it with --base; the checkpoint records {checkpoint.base!r:.80}."
        ) from error
    if checkpoint.family not in (None, base.family.key):
        raise CheckpointError(
            f"{checkpoint.folder}: trained on a base of family {checkpoint.family}, but {base.name} is of "
            f"{base.family.key} ({base.family.name}). Name the base of the training with --base."
        )
    if not base.has_hash(base.family.network, checkpoint.unet_sha256):
        raise CheckpointError(
            f"{checkpoint.folder}: trained on base {checkpoint.base} ({base.family.network} sha256 "
            f"{checkpoint.unet_sha256[:12]}), but {base.name} is another ({base.network_hash[:12]}). Name the base "
            "of the training with --base."
        )
    return base


def solved(sampling: Sampling, checkpoint: Checkpoint) -> Sampling:
    """The same by a solver: where none was asked for, the usual one of the family of the checkpoint's base."""
    usual = {family.key: family.samplers[0] for family in FAMILIES}.get(checkpoint.family or "", DIFFUSION[0])
    return replace(sampling, scheduler=sampling.scheduler or usual)  # type: ignore[arg-type]  # of models/samplers.py


def check_sampler(base: Base, scheduler: str | None, zero_terminal_snr: bool) -> None:
    """Stop with a GenerateError if a scheduler that was asked for does not fit the base."""
    if scheduler and scheduler not in (fitting := base.samplers(zero_terminal_snr)):
        known = scheduler in base.family.samplers
        kind = " that predicts latents, or was trained to start in pure noise," if known else ""
        raise GenerateError(
            f"scheduler is {scheduler}; a base of {base.family.name}{kind} is solved by "
            f"{', '.join(fitting)}. Set --scheduler {fitting[0]}."
        )
