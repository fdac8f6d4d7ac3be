"""A checkpoint folder and the base it was trained on, found and checked before anything is generated."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.storage import sha256
from models import Base, BaseError, load_base
from models.checkpoint import MANIFEST, CheckpointError, State, resolve_checkpoint, trained_state
from models.trained import CONTROLNET, CONV_IN, LORA

PARTS = {  # what was trained -> the folders it must have
    "controlnet": [CONTROLNET],
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
    unet_sha256: str  # Base.weights_hash("unet") of that base
    resolution: int  # side of the images it was trained on, px
    patch_px: int | None  # side of the patches that they were made from; None = several, or not told by old checkpoints
    caption_style: str
    trained: str  # a key of PARTS
    condition: str  # of the ControlNet: pixels, latents, pixels+mask
    direction: str  # future, past, both
    text_chunks: int  # pieces of 77 tokens of a prompt
    zero_terminal_snr: bool  # the noise schedule was rescaled
    metadata: bool  # networks that take metadata were told them
    sequence: int  # images of before the event that it is shown
    trained_on: dict[str, Any]  # fingerprints of `datasets`, `split`, events in `leave_out`

    @property
    def weights(self) -> Path:
        """Where controlnet/, lora/, conv_in/ lie that are used: the averaged weights where there are any."""
        averaged = self.folder / "ema"
        return averaged if averaged.is_dir() else self.folder

    def described(self) -> dict[str, Any]:
        """What identifies the checkpoint, for manifests and tags; its hash covers every file in it."""
        return {
            "checkpoint": str(self.folder),
            "checkpoint_sha256": sha256(self.folder / MANIFEST),
            "step": self.step,
            "weights": "ema" if self.weights.name == "ema" else self.trained,
            "base_unet_sha256": self.unet_sha256,
        }


def open_checkpoint(path: Path) -> Checkpoint:
    """Find and check what the user named: a run folder or one of its checkpoints.

    Raises:
        CheckpointError: there is no intact checkpoint, or its state.json is not as a training writes it.
    """
    folder = resolve_checkpoint(path)
    state = trained_state(folder)
    checkpoint = Checkpoint(
        folder=folder,
        step=state["step"],
        base=state["base"]["name"],
        unet_sha256=state["base"]["unet_sha256"],
        resolution=state["resolution"],
        patch_px=state.get("patch_px"),
        caption_style=state["caption_style"],
        trained=state["trained"],
        condition=state["condition"],
        direction=state["direction"],
        text_chunks=state["text_chunks"],
        zero_terminal_snr=state["zero_terminal_snr"],
        metadata=state.get("metadata", "none") != "none",
        sequence=state.get("sequence", 1),
        trained_on=_trained_on(state),
    )
    missing = [part for part in PARTS[checkpoint.trained] if not (checkpoint.weights / part).is_dir()]
    if state["config"].get("train", {}).get("ema_decay", 0) > 0 and checkpoint.weights == folder:
        missing.append("ema")  # the live weights beside it make other images
    if missing:
        raise CheckpointError(
            f"{checkpoint.weights}: it lacks {', '.join(missing)}. Use another checkpoint of the run."
        )
    return checkpoint


def _trained_on(state: State) -> dict[str, Any]:
    data = state["config"].get("data", {})
    return {
        "datasets": state["dataset_fingerprint"].split("+"),  # one a stage
        "split": data.get("split", "train"),
        "leave_out": data.get("leave_out", []),
    }


def open_base(checkpoint: Checkpoint, name: str | None = None) -> Base:
    """The base of the training; any other would give rubbish without an error.

    Args:
        checkpoint: what `open_checkpoint` found.
        name: where the base lies now, if not where the training found it.

    Raises:
        CheckpointError: the base of the training is not there, or the one that was named is another.
        BaseError: the one that was named cannot be loaded.
    """
    try:
        # Whoever wrote the checkpoint does not decide what is downloaded here.
        base = load_base(name or checkpoint.base, download=name is not None)
    except BaseError as error:
        if name is not None:
            raise
        raise CheckpointError(
            f"{checkpoint.folder}: its base is not where the training found it. {error} If it lies elsewhere now or is "
            f"to be downloaded, name it with --base; {checkpoint.base!r:.80} is what the checkpoint says."
        ) from error
    if not base.has_hash("unet", checkpoint.unet_sha256):
        raise CheckpointError(
            f"{checkpoint.folder}: trained on base {checkpoint.base} (UNet sha256 {checkpoint.unet_sha256[:12]}), but "
            f"{base.name} is another one (UNet sha256 {base.weights_hash('unet')[:12]}). Name the base of the training "
            "with --base."
        )
    return base
