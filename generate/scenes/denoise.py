"""The latents of a whole scene: one denoising process, its prediction blended from overlapping windows in every step.

All windows share the latents, so that what one of them draws is what its neighbour continues. The latents of the scene
are the only thing that grows with it: 16 to 32 bytes for every 8 x 8 px.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline, StableDiffusionInstructPix2PixPipeline
from torch import Tensor

from data.dataset.processes import Processes
from generate.metadata import told
from generate.pipeline import (
    Pipeline,
    Pixels,
    autocast,
    check_finite,
    check_steps,
    conditioning,
    prompt_states,
    scaled_input,
)
from generate.processes import ALONE, in_turn
from generate.sampling import Sampling
from generate.scenes.windows import Grid, weight_sums, weights
from models.denoiser import has_lora

Places = list[tuple[int, int]]  # (top, left) of windows
ReadWindow = Callable[[int, int], Pixels]  # (top, left) in pixels of the network -> (side, side, 3)


@torch.inference_mode()
def denoise_scene(
    pipeline: Pipeline,
    grid: Grid,
    read_pre: ReadWindow,
    prompt: str,
    seed: int,
    sampling: Sampling,
    on_window: Callable[[int], object] = lambda done: None,
    team: Processes = ALONE,
) -> Tensor:
    """Sample the latents of a scene.

    A scene of a single window gives what `generate_images` gives for it.

    Args:
        pipeline: from `load_generator`.
        grid: windows over the latents.
        read_pre: the pre image under one window.
        prompt: of the whole scene.
        seed: of the start noise of the whole scene, drawn on the CPU.
        sampling: its scheduler and seed are those of `pipeline` and `seed`.
        on_window: told the number of windows just predicted.
        team: the processes that share the windows; each gets the whole latents, those of one process to the bit.

    Returns:
        (1, C, grid.height, grid.width) float32, scaled as the UNet sees them.
    """
    check_steps(pipeline, sampling.steps)
    text = _encode(pipeline, prompt, sampling)
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(sampling.steps, device=pipeline.device)
    shape = (1, pipeline.vae.config.latent_channels, grid.height, grid.width)
    noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
    latents: Tensor = noise.to(pipeline.device) * scheduler.init_noise_sigma
    one = weights(grid.side)
    window_weight = torch.from_numpy(np.outer(one, one)).to(latents.device)
    sums = (weight_sums(length, grid.side, grid.stride) for length in (grid.height, grid.width))
    weight_sum = torch.from_numpy(np.outer(*sums)).to(latents.device)
    for index, timestep in enumerate(scheduler.timesteps):
        control = _control_scale(sampling, index)
        blended = torch.zeros_like(latents)

        def predict(
            places: Places, latents: Tensor = latents, timestep: Tensor = timestep, control: float = control
        ) -> Tensor:
            crops = torch.cat([latents[..., y : y + grid.side, x : x + grid.side] for y, x in places])
            crops = scheduler.scale_model_input(crops, timestep)
            pre = conditioning([read_pre(y, x) for y, x in _in_pixels(pipeline, places)]).to(latents.device)
            with (
                autocast(pipeline, sampling),
                scaled_input(pipeline, sampling.control_scale),
                told(pipeline, None),
            ):
                return _predict(pipeline, crops, timestep, text, pre, control, sampling)

        for places, predicted in in_turn(_batches(grid, sampling.batch_size), predict, team):
            for (y, x), part in zip(places, predicted, strict=True):
                blended[0, :, y : y + grid.side, x : x + grid.side] += window_weight * part
            on_window(len(places))
        latents = scheduler.step(blended / weight_sum, timestep, latents, return_dict=False)[0]
    check_finite(latents.cpu().numpy(), [seed])
    return latents


def _predict(
    pipeline: Pipeline,
    crops: Tensor,
    timestep: Tensor,
    text: Tensor,
    pre: Tensor,
    control_scale: float,
    sampling: Sampling,
) -> Tensor:
    """The UNet's prediction for a batch of windows, float32, guided as diffusers guides."""
    arguments: dict[str, Any] = {}
    if has_lora(pipeline.unet):
        arguments["cross_attention_kwargs"] = {"scale": sampling.control_scale}
    count = len(crops)
    states = text.repeat_interleave(count, dim=0)  # [empty caption,] caption
    copies = len(text)
    crops, pre = (torch.cat([part] * copies) for part in (crops, pre))
    if isinstance(pipeline, StableDiffusionControlNetPipeline):
        down, mid = pipeline.controlnet(
            crops,
            timestep,
            encoder_hidden_states=states,
            controlnet_cond=pre,
            conditioning_scale=control_scale,
            return_dict=False,
        )
        arguments |= {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    elif isinstance(pipeline, StableDiffusionInstructPix2PixPipeline):
        # Latents as the VAE gives them, not scaled.
        crops = torch.cat([crops, pipeline.vae.encode(pre * 2 - 1).latent_dist.mode().float()], 1)
    arguments |= {"encoder_hidden_states": states, "return_dict": False}
    predicted: Tensor = pipeline.unet(crops, timestep, **arguments)[0].float()
    if copies == 1:
        return predicted
    without, with_caption = predicted.chunk(2)
    return without + sampling.guidance_scale * (with_caption - without)


def _encode(pipeline: Pipeline, prompt: str, sampling: Sampling) -> Tensor:
    """(1, chunks * 77, D) text states, or two with those of the empty caption first where guidance needs them."""
    guided = sampling.guidance_scale > 1
    with autocast(pipeline, sampling):
        states = prompt_states(pipeline, [prompt])
    return torch.cat([states["negative_prompt_embeds"], states["prompt_embeds"]]) if guided else states["prompt_embeds"]


def _control_scale(sampling: Sampling, index: int) -> float:
    """Factor on the ControlNet in one step, by diffusers' rule."""
    begun, ended = index / sampling.steps, (index + 1) / sampling.steps
    return 0.0 if begun < sampling.control_start or ended > sampling.control_end else sampling.control_scale


def _batches(grid: Grid, size: int) -> list[Places]:
    places = iter(grid)
    return [batch for batch in iter(lambda: list(islice(places, size)), [])]


def _in_pixels(pipeline: Pipeline, places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    factor = pipeline.vae_scale_factor
    return [(y * factor, x * factor) for y, x in places]
