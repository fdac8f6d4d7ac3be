"""Training-free editing by DDIM inversion.

The pre image is inverted to noise with its own caption and denoised with the new one. The inversion is diffusers'
DDIMInverseScheduler. Its DiffEdit pipeline is not used: see docs/decisions.md.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from diffusers import DDIMInverseScheduler
from torch import Tensor

from generate.conditions import METADATA, Conditions
from generate.editing.base import clean_latents, depth, places_of
from generate.generator import Generator, set_steps
from generate.inputs import Inputs, Pixels
from generate.sampling import Sampling
from models.sampling import generators, noise, sample

# DiffEdit (Couairon et al. 2023), section 3.2, with diffusers' values.
MAP_STRENGTH = 0.5  # share of the noise schedule at which the predictions for the two captions are compared
MAPS = 10  # noise samples averaged over
MAP_THRESHOLD = 1.5  # times the mean difference: half of the 3 at which the paper clips outliers


def invert(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """DDIM inversion as in CycleDiffusion (Wu & De la Torre 2023): no noise is drawn, so the seed has no effect."""
    return _edit(generator, inputs, sampling, on_step, lambda _, latents, *__: torch.ones_like(latents[:, :1]))


def diffedit(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """DiffEdit (Couairon et al. 2023): inversion, changing only where the two captions' predictions differ."""
    return _edit(generator, inputs, sampling, on_step, disagreement)


@torch.inference_mode()
def _edit(
    generator: Generator,
    inputs: Inputs,
    sampling: Sampling,
    on_step: Callable[[int], None],
    mask_of: Callable[..., Tensor],
) -> Pixels:
    # Without guidance: with it inversion is not reversible (Mokady et al., "Null-text inversion", 2023, section 3.1).
    plain = replace(sampling, guidance_scale=1.0)
    sources = [str(prompt) for prompt in inputs.source_prompts]
    places = places_of(inputs)
    target = generator.conditions(inputs.prompts, None, None, sampling, places)
    clean = clean_latents(generator, inputs)
    source = generator.conditions(sources, None, None, sampling, places)
    mask = mask_of(generator, clean, source, target, inputs, sampling)
    trail = inverted(generator, clean, generator.conditions(sources, None, None, plain, places), plain)

    def keep_outside(done: int, latents: Tensor) -> Tensor:
        on_step(done)
        return mask * latents + (1 - mask) * trail[-1 - done]

    set_steps(generator, sampling.steps)
    timesteps = generator.sampler.timesteps[-depth(sampling.steps) :]
    predict = partial(generator.predict, given=target, sampling=sampling)
    return generator.images(sample(predict, generator.sampler, trail[-1], timesteps, keep_outside), inputs.seeds)


def inverted(generator: Generator, clean: Tensor, source: Conditions, sampling: Sampling) -> list[Tensor]:
    """Latents at every noise level of the sampler, from clean to STRENGTH."""
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
    """(B, 1, h, w): 1 where the predictions for the two captions differ much more than on average."""
    set_steps(generator, sampling.steps)
    timestep = generator.sampler.timesteps[-depth(sampling.steps, MAP_STRENGTH)]
    masks = []
    for i, seed in enumerate(inputs.seeds):
        shape = (MAPS, *clean.shape[1:])
        (added,) = noise(shape, generators([seed]), clean.device)
        noisy = generator.sampler.add_noise(clean[i].expand(shape), added, timestep.expand(MAPS))
        was, will = (
            generator.predict(noisy, timestep, _without_metadata(given).repeated(i, MAPS), sampling)
            for given in (source, target)
        )
        difference = (will - was).abs().mean((0, 1))
        masks.append((difference > MAP_THRESHOLD * difference.mean()).float())
    return torch.stack(masks)[:, None]


def _without_metadata(given: Conditions) -> Conditions:
    """The map is to show where the captions differ."""
    return replace(given, told={name: rows for name, rows in given.told.items() if name not in METADATA})
