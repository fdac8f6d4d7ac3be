"""From a checkpoint folder to a stock diffusers pipeline, and from pre images to generated ones.

The pipeline is one of diffusers' own, and nothing here changes how it samples, so that the folders of a checkpoint give
the same images without us: `StableDiffusionControlNetPipeline` for a ControlNet, `StableDiffusionPipeline` for a LoRA
alone, `StableDiffusionInstructPix2PixPipeline` for concatenated latents.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from accelerate import PartialState
from diffusers import (
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from torch import Tensor

from data.storage import sha256
from generate.errors import GenerateError
from generate.metadata import Metadata, told
from generate.sampling import Sampling
from models import Base, BaseError, load_base, load_controlnet
from models.checkpoint import MANIFEST, CheckpointError, State, resolve_checkpoint, trained_state, usable
from models.denoiser import PRE_CONV, has_lora, widen_conv_in
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.encodes_pixels import EncodesPixels, take_pixels
from models.frozen import frozen
from models.lora import FILE as LORA_FILE
from models.lora import check_lora
from models.text import text_states
from models.trained import CONTROLNET, CONV_IN, LORA, load_trained

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB; with a damage mask 5 more channels, see data/examples/condition.py
Pipeline: TypeAlias = DiffusionPipeline  # one of the three above

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


def load_generator(checkpoint: Checkpoint, parts: Base, scheduler: str = "ddim") -> Pipeline:
    """Assemble the pipeline, float32, on this process's device.

    Args:
        checkpoint: what `open_checkpoint` found.
        parts: its base, from `open_base`.
        scheduler: one of `models.base.SAMPLERS`.

    Raises:
        CheckpointError: its weights are cut off, or of another network.
    """
    networks = base_networks(parts, scheduler, checkpoint.zero_terminal_snr)
    with usable(checkpoint.weights):
        return ready(_with_trained(checkpoint, networks), checkpoint.text_chunks)


def _with_trained(checkpoint: Checkpoint, networks: dict[str, Any]) -> Pipeline:
    if CONTROLNET in PARTS[checkpoint.trained]:
        controlnet = load_controlnet(checkpoint.weights / CONTROLNET)
        if checkpoint.condition == "latents":
            take_pixels(controlnet, networks["vae"])
        pipeline: Pipeline = StableDiffusionControlNetPipeline(controlnet=controlnet, **networks)
    elif CONV_IN in PARTS[checkpoint.trained]:
        widen_conv_in(networks["unet"], load_trained(checkpoint.weights)[PRE_CONV])
        pipeline = StableDiffusionInstructPix2PixPipeline(**networks)
    else:
        pipeline = StableDiffusionPipeline(**networks)
    if LORA in PARTS[checkpoint.trained]:
        check_lora(checkpoint.weights / LORA, pipeline.unet)
        pipeline.load_lora_weights(checkpoint.weights / LORA, weight_name=LORA_FILE)  # else offline some refuse
        frozen(pipeline.unet)  # peft puts the file's memory maps into the network
    return pipeline


def base_networks(parts: Base, scheduler: str, zero_terminal_snr: bool = False) -> dict[str, Any]:
    """The parts of a base, and no safety checker, as arguments of diffusers' pipelines."""
    return {
        "vae": parts.load_vae(),
        "text_encoder": parts.load_text_encoder(),
        "tokenizer": parts.load_tokenizer(),
        "unet": parts.load_unet(),
        "scheduler": parts.load_sampler(scheduler, zero_terminal_snr),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def ready(pipeline: Pipeline, text_chunks: int) -> Pipeline:
    """Quiet, on this process's device, reading prompts of so many pieces."""
    pipeline.text_encoder.config.text_chunks = text_chunks  # travels with the pipeline to `prompt_states`
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(PartialState().device)


def generate_images(
    pipeline: Pipeline,
    pre: Sequence[Pixels],
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    on_step: Callable[[int], None] = lambda done: None,
    metadata: Sequence[Metadata] | None = None,
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
        metadata: one for each image, for networks that take them; None = unknown.

    Returns:
        (batch, height, width, 3) uint8.
    """
    check_steps(pipeline, sampling.steps)
    with (
        torch.inference_mode(),
        autocast(pipeline, sampling),
        scaled_input(pipeline, sampling.control_scale),
        told(pipeline, metadata),
    ):
        images = pipeline(
            **prompt_states(pipeline, prompts),
            **_condition(pipeline, pre, sampling),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            cross_attention_kwargs={"scale": sampling.control_scale} if has_lora(pipeline.unet) else None,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            callback_on_step_end=step_callback(on_step),
            output_type="np",
        ).images
    check_finite(images, seeds)
    return as_pixels(images)


def step_callback(on_step: Callable[[int], None]) -> Callable[..., dict[str, Any]]:
    """In diffusers' form, what is told the number of finished steps."""

    def report(_: object, step: int, __: object, ___: object) -> dict[str, Any]:
        on_step(step + 1)
        return {}

    return report


def as_pixels(images: NDArray[np.floating[Any]]) -> Pixels:
    """0..1 to uint8, as diffusers rounds."""
    return np.asarray((images * 255).round().astype(np.uint8))


def prompt_states(pipeline: Pipeline, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Captions and as many empty ones for guidance, encoded as in training: arguments of a pipeline."""
    texts = {"prompt_embeds": prompts, "negative_prompt_embeds": [""] * len(prompts)}
    chunks = getattr(pipeline.text_encoder.config, "text_chunks", 1)
    return {
        name: text_states(pipeline.tokenizer, pipeline.text_encoder, words, chunks) for name, words in texts.items()
    }


def autocast(pipeline: Pipeline, sampling: Sampling) -> torch.autocast:
    """Networks in bfloat16 if asked for; latents stay float32, so that a hundred steps do not add up its rounding."""
    return torch.autocast(pipeline.device.type, torch.bfloat16, enabled=sampling.precision == "bf16")


def conditioning(pre: Sequence[Pixels]) -> Tensor:
    """What a network reads: (B, K, H, W) float32 in [0, 1], as diffusers makes it from PIL images."""
    return torch.from_numpy(np.stack(pre).astype(np.float32) / 255).permute(0, 3, 1, 2)


def check_steps(pipeline: Pipeline, steps: int) -> None:
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


def _condition(pipeline: Pipeline, pre: Sequence[Pixels], sampling: Sampling) -> dict[str, Any]:
    """How a pipeline is told of the pre images."""
    image = conditioning(pre)
    if isinstance(pipeline, StableDiffusionPipeline):  # a LoRA alone sees only the caption
        return {"height": image.shape[-2], "width": image.shape[-1]}
    if isinstance(pipeline, StableDiffusionInstructPix2PixPipeline):
        return {"image": image, "image_guidance_scale": 1.0}  # 1: guidance by the caption alone, as elsewhere
    controlnet = pipeline.controlnet
    takes = (
        3
        if isinstance(controlnet.controlnet_cond_embedding, EncodesPixels)
        else controlnet.config.conditioning_channels
    )
    given = (
        3 if isinstance(controlnet, SatControlNet3D) and image.shape[1] % 3 == 0 else image.shape[1]
    )  # of each image
    if given != takes:
        raise GenerateError(
            f"the checkpoint was trained with {takes} channels (an image has 3, a damage mask 5 more), but was given "
            f"{given}. With model.condition pixels+mask, give a --mask, or a built dataset: it has the masks."
        )
    return {
        "image": image,
        "controlnet_conditioning_scale": float(sampling.control_scale),  # diffusers refuses 1
        "control_guidance_start": sampling.control_start,
        "control_guidance_end": sampling.control_end,
    }


@contextmanager
def scaled_input(pipeline: Pipeline, scale: float) -> Iterator[None]:
    """Within the block, weights on concatenated latents count `scale` times."""
    if not isinstance(pipeline, StableDiffusionInstructPix2PixPipeline) or scale == 1:
        yield
        return
    weight = pipeline.unet.conv_in.weight
    trained = weight.clone()
    weight[:, weight.shape[1] // 2 :] *= scale
    try:
        yield
    finally:
        weight.copy_(trained)
