"""From noise to latents: one loop for everything that is sampled, whatever predicts and whatever solves."""

import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
from diffusers import SchedulerMixin
from torch import Tensor

# (B, C, h, w) noisy latents and one timestep -> what the base predicts: noise, velocity or clean latents
Predict = Callable[[Tensor, Tensor], Tensor]
# number of finished steps and the latents after them -> latents to continue with, None = these
OnStep = Callable[[int, Tensor], Tensor | None]
Generators = torch.Generator | list[torch.Generator] | None


def sample(
    predict: Predict,
    sampler: SchedulerMixin,
    latents: Tensor,
    timesteps: Iterable[Tensor],
    on_step: OnStep = lambda done, latents: None,
    generator: Generators = None,
) -> Tensor:
    """Solve the reverse process; with an inverse scheduler the forward one.

    Args:
        predict: the network; captions, conditions and guidance are up to it.
        sampler: a scheduler of diffusers whose timesteps are set.
        latents: (B, C, h, w) at the noise level of the first timestep.
        timesteps: those to go through, of `sampler.timesteps`.
        on_step: called after each.
        generator: of samplers that add noise in every step, one or one for each image.

    Returns:
        (B, C, h, w) latents, scaled as the UNet sees them.
    """
    random = {"generator": generator} if "generator" in inspect.signature(sampler.step).parameters else {}
    for done, timestep in enumerate(timesteps, start=1):
        predicted = predict(sampler.scale_model_input(latents, timestep), timestep)
        latents = sampler.step(predicted, timestep, latents, **random, return_dict=False)[0]
        replaced = on_step(done, latents)
        latents = latents if replaced is None else replaced
    return latents


def guide(predicted: Tensor, guidance_scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022) of a prediction whose first half is the unconditional one."""
    unconditional, conditional = predicted.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One for each image, on the CPU: what is drawn is the same in any batch and on any device."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def noise(shape: Sequence[int], random: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """(B, *shape) standard normal, from the generators of the images; solvers that add noise draw on."""
    return torch.cat([torch.randn((1, *shape), generator=one) for one in random]).to(device)
