"""Editing without training: what a base makes of the pre image and the caption alone, as rows to compare with.

Stock diffusers pipelines over the networks that are loaded already; the ControlNet has no part in them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from generate.errors import GenerateError
from generate.inputs import Inputs
from generate.metadata import told
from generate.pipeline import (
    Pipeline,
    Pixels,
    as_pixels,
    autocast,
    check_finite,
    conditioning,
    prompt_states,
    step_callback,
)
from generate.sampling import Sampling
from models.denoiser import has_lora

SDEDIT_STRENGTH = 0.75  # share of the noise that the pre image starts from, as in RSEdit's comparison


def sdedit(pipeline: Pipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """SDEdit (Meng et al. 2022): noise the pre image three quarters of the way and denoise it to the caption."""
    edit = StableDiffusionImg2ImgPipeline(**_parts(pipeline))
    edit.set_progress_bar_config(disable=True)
    with torch.inference_mode(), autocast(pipeline, sampling), told(pipeline, inputs.metadata):
        images = edit(
            **prompt_states(pipeline, inputs.prompts),
            image=_rgb(inputs),
            strength=SDEDIT_STRENGTH,
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in inputs.seeds],
            callback_on_step_end=step_callback(on_step),
            output_type="np",
        ).images
    check_finite(images, inputs.seeds)
    return as_pixels(images)


def inpaint(pipeline: Pipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """Redraw the buildings only (Blended Latent Diffusion, Avrahami et al. 2023, algorithm 1).

    After every step the latents outside the mask become those of the pre image, noised to the same step; in the end its
    pixels too. Works on a base with any number of latent channels, which diffusers' own inpainting does not.

    Raises:
        GenerateError: there is no mask.
    """
    known = [mask for mask in inputs.buildings if mask is not None]
    if len(known) < len(inputs.buildings):
        raise GenerateError(
            "inpaint redraws the buildings, but some patches have no damage_mask that says where they are. Leave "
            "inpaint out of --methods, or build the dataset from a release with labels."
        )
    masks = np.stack(known)[..., None]
    draw = StableDiffusionPipeline(**_parts(pipeline))
    draw.set_progress_bar_config(disable=True)
    with torch.inference_mode(), autocast(pipeline, sampling), told(pipeline, inputs.metadata):
        original = _encode(pipeline, inputs)
        noise = torch.cat([_noise(original[:1], seed) for seed in inputs.seeds])
        cells = torch.from_numpy(masks[..., 0]).float()[:, None].to(original.device)
        # A cell is redrawn if any of its pixels is to be.
        cells = torch.nn.functional.max_pool2d(cells, pipeline.vae_scale_factor)

        def keep_outside(_: object, step: int, __: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            on_step(step + 1)
            later = draw.scheduler.timesteps[step + 1 : step + 2]
            outside = draw.scheduler.add_noise(original, noise, later) if len(later) else original
            return {"latents": cells * tensors["latents"] + (1 - cells) * outside}

        images = draw(
            **prompt_states(pipeline, inputs.prompts),
            height=masks.shape[1],
            width=masks.shape[2],
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            latents=noise,
            callback_on_step_end=keep_outside,
            output_type="np",
        ).images
    check_finite(images, inputs.seeds)
    return np.where(masks, as_pixels(images), np.stack(inputs.pre)[..., :3])


def _parts(pipeline: Pipeline) -> dict[str, Any]:
    if not isinstance(pipeline, StableDiffusionControlNetPipeline) or has_lora(pipeline.unet):
        raise GenerateError(
            "sdedit and inpaint edit with the base alone, but this checkpoint changes its UNet (LoRA or added "
            "channels). Leave them out of --methods, or take a ControlNet checkpoint of the same base."
        )
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    parts: dict[str, Any] = {name: getattr(pipeline, name) for name in names}
    return parts | {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


def _encode(pipeline: Pipeline, inputs: Inputs) -> Tensor:
    """The pre images as latents, the most likely ones."""
    pixels = _rgb(inputs).to(pipeline.device) * 2 - 1
    latents: Tensor = pipeline.vae.encode(pixels).latent_dist.mode().float() * pipeline.vae.config.scaling_factor
    return latents


def _rgb(inputs: Inputs) -> Tensor:
    """The colours of the pre images; a damage mask behind them is for the ControlNet only."""
    return conditioning(inputs.pre)[:, :3]


def _noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(like.device)
