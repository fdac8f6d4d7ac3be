"""From a checkpoint folder to a stock diffusers pipeline, and from pre images to generated ones.

The pipeline is diffusers' own `StableDiffusionControlNetPipeline` and nothing here changes how it samples, so that the
folders of a checkpoint give the same images without us.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from generate.errors import GenerateError
from models import Base, BaseError, load_base, load_controlnet
from models.checkpoint import STATE, CheckpointError, read_state, resolve_checkpoint

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB


@dataclass(frozen=True)
class Checkpoint:
    """One intact checkpoint folder and what generation needs of its state.json."""

    folder: Path
    step: int
    base: str  # name or folder of the base it was trained on
    unet_sha256: str  # Base.weights_hash("unet") of that base
    resolution: int  # side of the images it was trained on, px
    caption_style: str

    @property
    def weights(self) -> Path:
        """The ControlNet folder to generate with: the averaged weights where there are any."""
        averaged = self.folder / "ema"
        return averaged if averaged.is_dir() else self.folder / "controlnet"


def open_checkpoint(path: Path) -> Checkpoint:
    """Find and check what the user named: a run folder or one of its checkpoints.

    Raises:
        CheckpointError: there is no intact checkpoint, or its state.json lacks a field.
    """
    folder = resolve_checkpoint(path)
    state = read_state(folder)
    try:
        checkpoint = Checkpoint(
            folder=folder,
            step=int(state["step"]),
            base=str(state["base"]["name"]),
            unet_sha256=str(state["base"]["unet_sha256"]),
            resolution=int(state["resolution"]),
            caption_style=str(state["caption_style"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / STATE}: field {error} is missing or not of its type. Expected a checkpoint written by "
            "pre2post's trainer; use another checkpoint of the run."
        ) from None
    if not checkpoint.weights.is_dir():
        raise CheckpointError(f"{folder}: it holds neither ema/ nor controlnet/. Use another checkpoint of the run.")
    return checkpoint


def load_generator(checkpoint: Checkpoint, base: str | None = None) -> StableDiffusionControlNetPipeline:
    """Assemble the pipeline, float32, on the GPU if there is one.

    Args:
        checkpoint: what `open_checkpoint` found.
        base: where the base lies now, if not where the training found it.

    Raises:
        CheckpointError: the base of the training is not there, or `base` is another one.
        BaseError: `base` cannot be loaded.
    """
    parts = _open_base(checkpoint, base)
    pipeline = StableDiffusionControlNetPipeline(
        vae=parts.load_vae(),
        text_encoder=parts.load_text_encoder(),
        tokenizer=parts.load_tokenizer(),
        unet=parts.load_unet(),
        controlnet=load_controlnet(checkpoint.weights),
        scheduler=parts.load_sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def generate_images(
    pipeline: StableDiffusionControlNetPipeline,
    pre: Sequence[Pixels],
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    steps: int,
    guidance_scale: float,
    control_scale: float = 1.0,
    on_step: Callable[[int], None] = lambda done: None,
) -> Pixels:
    """Generate one batch.

    Args:
        pipeline: from `load_generator`.
        pre: conditioning images, all of one size.
        prompts: one for each image.
        seeds: one for each image. Each start noise has a CPU generator of its own, so that an image depends neither
            on its batch nor on the device.
        steps: denoising steps.
        guidance_scale: classifier-free guidance; 1 = none.
        control_scale: factor on what the ControlNet adds; at 0 the base works alone.
        on_step: told the number of finished steps after each.

    Returns:
        (batch, height, width, 3) uint8.
    """
    check_steps(pipeline, steps)

    def report(_: object, step: int, __: object, ___: object) -> dict[str, Any]:
        on_step(step + 1)
        return {}

    with torch.inference_mode():
        images = pipeline(
            prompt=list(prompts),
            image=_conditioning(pre),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            controlnet_conditioning_scale=control_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=report,
            output_type="np",
        ).images
    if not np.isfinite(images).all():
        raise GenerateError(
            f"the network gave values that are no numbers (seeds {list(seeds)}). Its weights have diverged: "
            "use an earlier checkpoint."
        )
    return np.asarray((images * 255).round().astype(np.uint8))  # as diffusers rounds


def show_step(bar: "tqdm[Any]", steps: int, what: str, done: int) -> None:
    """Say beside a progress bar how far the current batch is."""
    bar.set_postfix_str(f"{what}step {done}/{steps}")


def check_steps(pipeline: StableDiffusionControlNetPipeline, steps: int) -> None:
    """Stop unless the sampler can make so many steps."""
    most = pipeline.scheduler.config.num_train_timesteps - 1
    if not 1 <= steps <= most:
        raise GenerateError(f"steps is {steps}; expected 1 to {most}, usually 20 to 50.")


def _conditioning(pre: Sequence[Pixels]) -> Tensor:
    """(B, 3, H, W) float32 in [0, 1], as diffusers makes it from PIL images."""
    return torch.from_numpy(np.stack(pre).astype(np.float32) / 255).permute(0, 3, 1, 2)


def _open_base(checkpoint: Checkpoint, name: str | None) -> Base:
    """The base of the training; any other would give rubbish without an error."""
    try:
        base = load_base(name or checkpoint.base)
    except BaseError as error:
        if name is not None:
            raise
        raise CheckpointError(
            f"{checkpoint.folder}: its base is not where the training found it. {error} If it lies elsewhere now, name "
            "it with --base."
        ) from error
    found = base.weights_hash("unet")
    if found != checkpoint.unet_sha256:
        raise CheckpointError(
            f"{checkpoint.folder}: trained on base {checkpoint.base} (UNet sha256 {checkpoint.unet_sha256[:12]}), but "
            f"{base.name} is another one (UNet sha256 {found[:12]}). Name the base of the training with --base."
        )
    return base
