"""Training-free editing: what a base makes of the pre image and the caption alone, as baselines.

No weights trained here are used. Editing by inversion is in generate/editing/inversion.py.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from data.examples.place import Place, whole
from generate.errors import GenerateError
from generate.generator import Generator, conditioning, set_steps
from generate.inputs import Inputs, Pixels
from generate.sampling import Sampling
from models.images import encode
from models.sampling import generators, noise, sample

STRENGTH = 0.75  # share of the noise schedule up to which the pre image is noised, as in RSEdit's comparison
IMAGE_GUIDANCE = 1.5  # of InstructPix2Pix, as published; effective only with a guidance_scale above 1


@torch.inference_mode()
def sdedit(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """SDEdit (Meng et al. 2022): noise the pre image three quarters of the way, denoise with the caption."""
    set_steps(generator, sampling.steps)
    given = generator.conditions(inputs.prompts, None, inputs.metadata, sampling, places_of(inputs))
    sampler, scale = generator.sampler, generator.base.latents
    first = sampling.steps - depth(sampling.steps)
    if hasattr(sampler, "set_begin_index"):  # multistep solvers count steps
        sampler.set_begin_index(first)
    timesteps = sampler.timesteps[first:]
    start = []
    for image, seed in zip(rgb(inputs).to(generator.device, generator.vae.dtype), inputs.seeds, strict=True):
        random = torch.Generator("cpu").manual_seed(seed)
        posterior = generator.vae.encode(image[None] * 2 - 1).latent_dist
        clean = scale.scaled(posterior.sample(random).float())  # the published method samples the posterior
        added = torch.randn(clean.shape, generator=random).to(clean.device)
        start.append(sampler.add_noise(clean, added, timesteps[:1]))
    predict = partial(generator.predict, given=given, sampling=sampling)
    latents = sample(predict, sampler, torch.cat(start), timesteps, lambda done, _: on_step(done))
    return generator.images(latents, inputs.seeds)


@torch.inference_mode()
def instruct(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """InstructPix2Pix (Brooks et al. 2023), its own weights: the caption is the instruction."""
    set_steps(generator, sampling.steps)
    sampler, unet = generator.sampler, generator.denoiser.unet
    pre = encode(generator.vae, rgb(inputs).to(generator.device))  # unscaled, as these models are trained
    guided = sampling.guidance_scale > 1
    states = generator.encoded(inputs.prompts, guided)["states"]
    if guided:  # rows conditioned on nothing, the image, the image and the caption
        empty, caption = states.chunk(2)
        states, pre = torch.cat([empty, empty, caption]), torch.cat([torch.zeros_like(pre), pre, pre])

    def predict(noisy: Tensor, timestep: Tensor) -> Tensor:
        both = torch.cat([torch.cat([noisy] * (1 + 2 * guided)), pre], 1).to(unet.dtype)
        predicted: Tensor = unet(both, timestep, states, return_dict=False)[0].float()
        if not guided:
            return predicted
        nothing, image, instructed = predicted.chunk(3)  # equation 3 of the paper
        return nothing + sampling.guidance_scale * (instructed - image) + IMAGE_GUIDANCE * (image - nothing)

    start = noise(pre.shape[1:], generators(inputs.seeds), generator.device) * sampler.init_noise_sigma
    latents = sample(predict, sampler, start, sampler.timesteps, lambda done, _: on_step(done))
    return generator.images(latents, inputs.seeds)


@torch.inference_mode()
def inpaint(generator: Generator, inputs: Inputs, sampling: Sampling, on_step: Callable[[int], None]) -> Pixels:
    """Regenerate the buildings only (Blended Latent Diffusion, Avrahami et al. 2023, algorithm 1).

    After each step the latents outside the mask are replaced by those of the pre image, noised to the same level, and
    finally its pixels too. Unlike diffusers' inpainting it works with any number of latent channels.

    Raises:
        GenerateError: an image has no mask.
    """
    known = [mask for mask in inputs.buildings if mask is not None]
    if len(known) < len(inputs.buildings):
        raise GenerateError("inpaint regenerates the buildings, but some images have no damage mask that locates them.")
    set_steps(generator, sampling.steps)
    given = generator.conditions(inputs.prompts, None, inputs.metadata, sampling, places_of(inputs))
    sampler, masks, original = generator.sampler, np.stack(known), clean_latents(generator, inputs)
    start = noise(original.shape[1:], generators(inputs.seeds), original.device)
    # A latent cell is regenerated if any of its pixels is.
    cells = torch.from_numpy(masks).float()[:, None].to(original.device)
    cells = torch.nn.functional.max_pool2d(cells, generator.cell_px)

    def keep_outside(done: int, latents: Tensor) -> Tensor:
        on_step(done)
        later = sampler.timesteps[done : done + 1]
        outside = sampler.add_noise(original, start, later) if len(later) else original
        return cells * latents + (1 - cells) * outside

    predict = partial(generator.predict, given=given, sampling=sampling)
    latents = sample(predict, sampler, start * sampler.init_noise_sigma, sampler.timesteps, keep_outside)
    return np.where(masks[..., None], generator.images(latents, inputs.seeds), np.stack(inputs.pre)[..., :3])


def places_of(inputs: Inputs) -> Sequence[Place]:
    """Where the images lie in their scenes."""
    return inputs.places or [whole(*image.shape[:2]) for image in inputs.pre]


def depth(steps: int, strength: float = STRENGTH) -> int:
    """How many of the denoising steps a partly noised image needs, as diffusers counts them."""
    return int(steps * strength)


def clean_latents(generator: Generator, inputs: Inputs) -> Tensor:
    """The pre images as latents: the mode of the posterior, scaled as the UNet expects."""
    return generator.base.latents.scaled(encode(generator.vae, rgb(inputs).to(generator.device)))


def rgb(inputs: Inputs) -> Tensor:
    """The RGB channels of the pre images; the damage mask channels are for the ControlNet only."""
    return conditioning(inputs.pre)[:, :3]
