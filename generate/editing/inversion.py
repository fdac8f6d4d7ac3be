"""Editing by DDIM inversion, without training.

The pre image is walked back to noise under its own caption, then forth again under the new one. The way back is
diffusers' DDIMInverseScheduler. Its DiffEdit pipeline is not used: docs/decisions.md says why.
"""

from collections.abc import Callable

import torch
from diffusers import DDIMInverseScheduler, StableDiffusionPipeline
from torch import Tensor

from generate.editing.diffedit import STRENGTH, encode
from generate.inputs import Inputs
from generate.metadata import told
from generate.pipeline import Pixels, as_pixels, autocast, check_finite, prompt_states
from generate.sampling import Sampling

# DiffEdit (Couairon et al. 2023), section 3.2, in the numbers of diffusers.
MAP_STRENGTH = 0.5  # share of the noise at which the predictions for the two captions are compared
MAPS = 10  # start noises that are averaged over
MAP_THRESHOLD = 1.5  # times the mean difference: half of the three at which the paper cuts outliers off


def invert(
    pipeline: StableDiffusionPipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]
) -> Pixels:
    """DDIM inversion as in CycleDiffusion (Wu & De la Torre 2023): no noise is drawn, seeds change nothing."""
    return _edit(pipeline, inputs, sampling, on_step, lambda latents, *_: torch.ones_like(latents[:, :1]))


def diffedit(
    pipeline: StableDiffusionPipeline, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]
) -> Pixels:
    """DiffEdit (Couairon et al. 2023): inversion, but only what the two captions disagree on may change."""
    return _edit(pipeline, inputs, sampling, on_step, disagreement)


def _edit(
    pipeline: StableDiffusionPipeline,
    inputs: Inputs,
    sampling: Sampling,
    on_step: Callable[[int], None],
    mask_of: Callable[..., Tensor],
) -> Pixels:
    sources = [str(prompt) for prompt in inputs.source_prompts]
    with torch.inference_mode(), autocast(pipeline, sampling), told(pipeline, None):
        source, target = prompt_states(pipeline, sources), prompt_states(pipeline, inputs.prompts)
        clean = encode(pipeline, inputs)
        mask = mask_of(clean, pipeline, source, target, inputs, sampling)
        trail = inverted(pipeline, clean, source, sampling.steps)
        latents = trail[-1]
        scheduler = pipeline.scheduler
        scheduler.set_timesteps(sampling.steps, device=latents.device)
        for step, timestep in enumerate(scheduler.timesteps[-depth(sampling.steps) :]):
            predicted = _predict(pipeline, latents, timestep, target, sampling.guidance_scale)
            latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
            latents = mask * latents + (1 - mask) * trail[-2 - step]
            on_step(step + 1)
        decoded = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor, return_dict=False)[0].float()
    images = pipeline.image_processor.postprocess(decoded, output_type="np")
    check_finite(images, inputs.seeds)
    return as_pixels(images)


def depth(steps: int, strength: float = STRENGTH) -> int:
    """How many of the denoising steps are walked back, as diffusers counts them."""
    return int(steps * strength)


def inverted(pipeline: StableDiffusionPipeline, clean: Tensor, states: dict[str, Tensor], steps: int) -> list[Tensor]:
    """Latents at every noise level that the sampler passes, from clean to STRENGTH.

    Without guidance: with it the way would not lead back (Mokady et al., "Null-text inversion", 2023, section 3.1).
    """
    inverse = DDIMInverseScheduler.from_config(pipeline.scheduler.config)
    inverse.set_timesteps(steps, device=clean.device)
    trail = [clean]
    for timestep in inverse.timesteps[: depth(steps)]:
        predicted = _predict(pipeline, trail[-1], timestep, states, 1.0)
        trail.append(inverse.step(predicted, timestep, trail[-1], return_dict=False)[0])
    return trail


def disagreement(
    clean: Tensor,
    pipeline: StableDiffusionPipeline,
    source: dict[str, Tensor],
    target: dict[str, Tensor],
    inputs: Inputs,
    sampling: Sampling,
) -> Tensor:
    """(B, 1, h, w): 1 where the predictions for the two captions differ by much more than elsewhere in the image."""
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(sampling.steps, device=clean.device)
    timestep = scheduler.timesteps[-depth(sampling.steps, MAP_STRENGTH)]
    masks = []
    for i, seed in enumerate(inputs.seeds):
        shape = (MAPS, *clean.shape[1:])
        noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).to(clean.device)
        noisy = scheduler.add_noise(clean[i].expand(shape), noise, timestep.expand(MAPS))
        was, will = (
            _predict(
                pipeline,
                noisy,
                timestep,
                {name: state[i].expand(MAPS, -1, -1) for name, state in states.items()},
                sampling.guidance_scale,
            )
            for states in (source, target)
        )
        difference = (will - was).abs().mean((0, 1))
        masks.append((difference > MAP_THRESHOLD * difference.mean()).float())
    return torch.stack(masks)[:, None]


def _predict(
    pipeline: StableDiffusionPipeline, latents: Tensor, timestep: Tensor, states: dict[str, Tensor], guidance: float
) -> Tensor:
    """The UNet's prediction, float32, guided as diffusers guides."""
    caption, empty = states["prompt_embeds"], states["negative_prompt_embeds"]
    guided = guidance > 1
    words = torch.cat([empty, caption]) if guided else caption
    noisy = torch.cat([latents] * (1 + guided))
    predicted: Tensor = pipeline.unet(noisy, timestep, encoder_hidden_states=words, return_dict=False)[0].float()
    if not guided:
        return predicted
    without, with_caption = predicted.chunk(2)
    return without + guidance * (with_caption - without)
