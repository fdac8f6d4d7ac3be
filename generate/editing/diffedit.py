"""Editing without training: what a base makes of the pre image and the caption alone, as rows to compare with.

Stock diffusers pipelines over the base's own networks and noise schedule; nothing that was trained here has a part in
them. Editing by inversion is in generate/editing/inversion.py.
"""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
)
from torch import Tensor

from generate.errors import GenerateError
from generate.inputs import Inputs
from generate.metadata import told
from generate.pipeline import (
    Pixels,
    as_pixels,
    autocast,
    base_networks,
    check_finite,
    conditioning,
    prompt_states,
    ready,
    step_callback,
)
from generate.sampling import Sampling
from models import Base

STRENGTH = 0.75  # share of the noise that the pre image starts from, as in RSEdit's comparison
IMAGE_GUIDANCE = 1.5  # of InstructPix2Pix, as published; counts with a guidance_scale above 1 only


def load_editor(parts: Base, scheduler: str, text_chunks: int) -> StableDiffusionPipeline:
    """The base alone, on the noise schedule it was trained with."""
    return ready(StableDiffusionPipeline(**base_networks(parts, scheduler)), text_chunks)


def load_instruct(parts: Base, scheduler: str, text_chunks: int) -> StableDiffusionInstructPix2PixPipeline:
    """An InstructPix2Pix model."""
    return ready(StableDiffusionInstructPix2PixPipeline(**base_networks(parts, scheduler)), text_chunks)


def sdedit(
    pipeline: StableDiffusionPipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]
) -> Pixels:
    """SDEdit (Meng et al. 2022): noise the pre image three quarters of the way and denoise it to the caption."""
    edit = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    edit.set_progress_bar_config(disable=True)
    return _edited(edit, inputs, sampling, on_step, strength=STRENGTH)


def instruct(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    inputs: Inputs,
    sampling: Sampling,
    on_step: Callable[[int], None],
) -> Pixels:
    """InstructPix2Pix (Brooks et al. 2023), its own weights: the caption is the instruction."""
    return _edited(pipeline, inputs, sampling, on_step, image_guidance_scale=IMAGE_GUIDANCE)


def inpaint(
    pipeline: StableDiffusionPipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]
) -> Pixels:
    """Redraw the buildings only (Blended Latent Diffusion, Avrahami et al. 2023, algorithm 1).

    After every step the latents outside the mask become those of the pre image, noised to the same step; in the end its
    pixels too. Works on a base with any number of latent channels, which diffusers' own inpainting does not.

    Raises:
        GenerateError: there is no mask.
    """
    known = [mask for mask in inputs.buildings if mask is not None]
    if len(known) < len(inputs.buildings):
        raise GenerateError("inpaint redraws the buildings, but some images have no damage mask that says where.")
    masks = np.stack(known)[..., None]
    with torch.inference_mode(), autocast(pipeline, sampling), told(pipeline, inputs.metadata):
        original = encode(pipeline, inputs)
        noise = torch.cat([_noise(original[:1], seed) for seed in inputs.seeds])
        cells = torch.from_numpy(masks[..., 0]).float()[:, None].to(original.device)
        # A cell is redrawn if any of its pixels is to be.
        cells = torch.nn.functional.max_pool2d(cells, pipeline.vae_scale_factor)

        def keep_outside(_: object, step: int, __: object, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            on_step(step + 1)
            later = pipeline.scheduler.timesteps[step + 1 : step + 2]
            outside = pipeline.scheduler.add_noise(original, noise, later) if len(later) else original
            return {"latents": cells * tensors["latents"] + (1 - cells) * outside}

        images = pipeline(
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


def _edited(
    pipeline: StableDiffusionImg2ImgPipeline | StableDiffusionInstructPix2PixPipeline,
    inputs: Inputs,
    sampling: Sampling,
    on_step: Callable[[int], None],
    **strengths: float,
) -> Pixels:
    """What a stock pipeline that takes an image makes of the pre images and captions."""
    with torch.inference_mode(), autocast(pipeline, sampling), told(pipeline, inputs.metadata):
        images = pipeline(
            **prompt_states(pipeline, inputs.prompts),
            image=rgb(inputs),
            num_inference_steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in inputs.seeds],
            callback_on_step_end=step_callback(on_step),
            output_type="np",
            **strengths,
        ).images
    check_finite(images, inputs.seeds)
    return as_pixels(images)


def encode(pipeline: StableDiffusionPipeline, inputs: Inputs) -> Tensor:
    """The pre images as latents, the most likely ones."""
    pixels = rgb(inputs).to(pipeline.device) * 2 - 1
    latents: Tensor = pipeline.vae.encode(pixels).latent_dist.mode().float() * pipeline.vae.config.scaling_factor
    return latents


def rgb(inputs: Inputs) -> Tensor:
    """The colours of the pre images; a damage mask behind them is for the ControlNet only."""
    return conditioning(inputs.pre)[:, :3]


def _noise(like: Tensor, seed: int) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(like.device)
