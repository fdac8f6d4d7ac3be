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
from accelerate import PartialState
from diffusers import StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from torch import Tensor

from generate.errors import GenerateError
from generate.sampling import Sampling
from models import Base, BaseError, load_base, load_controlnet
from models.checkpoint import MANIFEST, STATE, CheckpointError, file_sha256, read_state, resolve_checkpoint

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

    def described(self) -> dict[str, Any]:
        """What identifies the checkpoint, for manifests and tags; its hash covers every file in it."""
        return {
            "checkpoint": str(self.folder),
            "checkpoint_sha256": file_sha256(self.folder / MANIFEST),
            "step": self.step,
            "weights": self.weights.name,
            "base_unet_sha256": self.unet_sha256,
        }


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


def load_generator(checkpoint: Checkpoint, parts: Base, scheduler: str = "ddim") -> StableDiffusionControlNetPipeline:
    """Assemble the pipeline, float32, on this process's device.

    Args:
        checkpoint: what `open_checkpoint` found.
        parts: its base, from `open_base`.
        scheduler: one of `models.base.SAMPLERS`.
    """
    pipeline = StableDiffusionControlNetPipeline(
        vae=parts.load_vae(),
        text_encoder=parts.load_text_encoder(),
        tokenizer=parts.load_tokenizer(),
        unet=parts.load_unet(),
        controlnet=load_controlnet(checkpoint.weights),
        scheduler=parts.load_sampler(scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(PartialState().device)


def generate_images(
    pipeline: StableDiffusionControlNetPipeline,
    pre: Sequence[Pixels],
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    on_step: Callable[[int], None] = lambda done: None,
) -> Pixels:
    """Generate one batch.

    Args:
        pipeline: from `load_generator`.
        pre: conditioning images, all of one size.
        prompts: one for each image.
        seeds: one for each image. Each start noise has a CPU generator of its own, so that an image depends neither
            on its batch nor on the device.
        sampling: scheduler and seed of it are not looked at here: they are in the pipeline and in `seeds`.
        on_step: told the number of finished steps after each.

    Returns:
        (batch, height, width, 3) uint8.
    """
    check_steps(pipeline, sampling.steps)

    def report(_: object, step: int, __: object, ___: object) -> dict[str, Any]:
        on_step(step + 1)
        return {}

    with torch.inference_mode(), autocast(pipeline, sampling):
        images = pipeline(
            prompt=list(prompts),
            image=conditioning(pre),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            controlnet_conditioning_scale=sampling.control_scale,
            control_guidance_start=sampling.control_start,
            control_guidance_end=sampling.control_end,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=report,
            output_type="np",
        ).images
    check_finite(images, seeds)
    return np.asarray((images * 255).round().astype(np.uint8))  # as diffusers rounds


def autocast(pipeline: StableDiffusionControlNetPipeline, sampling: Sampling) -> torch.autocast:
    """Networks in bfloat16 if asked for; latents stay float32, so that a hundred steps do not add up its rounding."""
    return torch.autocast(pipeline.device.type, torch.bfloat16, enabled=sampling.precision == "bf16")


def conditioning(pre: Sequence[Pixels]) -> Tensor:
    """What the ControlNet reads: (B, 3, H, W) float32 in [0, 1], as diffusers makes it from PIL images."""
    return torch.from_numpy(np.stack(pre).astype(np.float32) / 255).permute(0, 3, 1, 2)


def check_steps(pipeline: StableDiffusionControlNetPipeline, steps: int) -> None:
    """Stop unless the sampler can make so many steps."""
    most = pipeline.scheduler.config.num_train_timesteps - 1
    if not 1 <= steps <= most:
        raise GenerateError(f"steps is {steps}; expected 1 to {most}, usually 20 to 100.")


def check_finite(values: NDArray[Any], seeds: Sequence[int]) -> None:
    """Stop if the networks gave values that are no numbers."""
    if not np.isfinite(values).all():
        raise GenerateError(
            f"the network gave values that are no numbers (seeds {list(seeds)}). Its weights have diverged: "
            "use an earlier checkpoint. With bf16, try fp32 first."
        )
