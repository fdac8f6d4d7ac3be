"""Editing by DDIM inversion, without training.

The pre image is walked back to noise under its own caption, then forth again under the new one. The way back is
diffusers' DDIMInverseScheduler. Its DiffEdit pipeline is not used: docs/decisions.md says why.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from diffusers import DDIMInverseScheduler
from torch import Tensor

from generate.editing.base import clean_latents, depth
from generate.generator import Conditions, Generator, set_steps
from generate.inputs import Inputs, Pixels
from generate.sampling import Sampling
from models.sampling import noise, sample

# DiffEdit (Couairon et al. 2023), section 3.2, in the numbers of diffusers.
MAP_STRENGTH = 0.5  # share of the noise at which the predictions for the two captions are compared
MAPS = 10  # start noises that are averaged over
MAP_THRESHOLD = 1.5  # times the mean difference: half of the three at which the paper cuts outliers off


def invert(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """DDIM inversion as in CycleDiffusion (Wu & De la Torre 2023): no noise is drawn, seeds change nothing."""
    return _edit(generator, inputs, sampling, on_step, lambda _, latents, *__: torch.ones_like(latents[:, :1]))


def diffedit(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """DiffEdit (Couairon et al. 2023): inversion, but only what the two captions disagree on may change."""
    return _edit(generator, inputs, sampling, on_step, disagreement)


@torch.inference_mode()
def _edit(
    generator: Generator,
    inputs: Inputs,
    sampling: Sampling,
    on_step: Callable[[int], None],
    mask_of: Callable[..., Tensor],
) -> Pixels:
    # Without guidance: with it the way would not lead back (Mokady et al., "Null-text inversion", 2023, section 3.1).
    plain = replace(sampling, guidance_scale=1.0)
    sources = [str(prompt) for prompt in inputs.source_prompts]
    target = generator.conditions(inputs.prompts, None, None, sampling)
    clean = clean_latents(generator, inputs)
    mask = mask_of(generator, clean, generator.conditions(sources, None, None, sampling), target, inputs, sampling)
    trail = inverted(generator, clean, generator.conditions(sources, None, None, plain), plain)

    def keep_outside(done: int, latents: Tensor) -> Tensor:
        on_step(done)
        return mask * latents + (1 - mask) * trail[-1 - done]

    set_steps(generator, sampling.steps)
    timesteps = generator.sampler.timesteps[-depth(sampling.steps) :]
    predict = partial(generator.predict, given=target, sampling=sampling)
    return generator.images(sample(predict, generator.sampler, trail[-1], timesteps, keep_outside), inputs.seeds)


def inverted(generator: Generator, clean: Tensor, source: Conditions, sampling: Sampling) -> list[Tensor]:
    """Latents at every noise level that the sampler passes, from clean to STRENGTH."""
    inverse = DDIMInverseScheduler.from_config(generator.sampler.config)
    inverse.set_timesteps(sampling.steps, device=clean.device)
    trail = [clean]

    def keep(_: int, latents: Tensor) -> None:
        trail.append(latents)

    predict = partial(generator.predict, given=source, sampling=sampling)
    sample(predict, inverse, clean, inverse.timesteps[: depth(sampling.steps)], keep)
    return trail


def disagreement(
    generator: Generator, clean: Tensor, source: Conditions, target: Conditions, inputs: Inputs, sampling: Sampling
) -> Tensor:
    """(B, 1, h, w): 1 where the predictions for the two captions differ by much more than elsewhere in the image."""
    set_steps(generator, sampling.steps)
    timestep = generator.sampler.timesteps[-depth(sampling.steps, MAP_STRENGTH)]
    masks = []
    for i, seed in enumerate(inputs.seeds):
        shape = (MAPS, *clean.shape[1:])
        (added,) = noise(shape, [seed], clean.device)
        noisy = generator.sampler.add_noise(clean[i].expand(shape), added, timestep.expand(MAPS))
        was, will = (
            generator.predict(noisy, timestep, given.repeated(i, MAPS), sampling) for given in (source, target)
        )
        difference = (will - was).abs().mean((0, 1))
        masks.append((difference > MAP_THRESHOLD * difference.mean()).float())
    return torch.stack(masks)[:, None]
