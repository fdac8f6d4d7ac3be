"""The networks that generate images, with everything sampling needs to know about them, built in one place.

Their images equal those of diffusers' own pipelines from the same folders to within one grey level, which is tested for
each kind of checkpoint.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKL, SchedulerMixin, T2IAdapter
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from data.examples.condition import DAMAGE_VALUES_SHOWN, Condition, condition_of
from data.examples.place import Place, whole
from generate.checkpoint import PARTS, Checkpoint, check_sampler
from generate.conditions import METADATA, Conditions, times
from generate.errors import GenerateError
from generate.inputs import Metadata, Pixels
from generate.sampling import Sampling
from models import Base, load_controlnet
from models.checkpoint import usable
from models.conditioners.controlnet_lora import load_controlnet_lora
from models.conditioners.few_bits import use_few_bits
from models.cpu.freed_memory import give_back_freed_memory, keep_freed_memory
from models.cpu.layers import use_cpu_layers
from models.cpu.precision import compute_type
from models.denoiser import PRE_CONV, Denoiser, Shown, concatenate_pre
from models.diffusionsat.metadata import normalised_batch
from models.images import LatentScale, as_pixels, condition_latents, decode, encode, to_unit
from models.lora import load_adapter
from models.sampling import generators, guide, noise, sample
from models.trained import CONTROLNET, CONTROLNET_LORA, CONV_IN, LORA, T2I_ADAPTER, load_trained

UNSCALED = LatentScale(1.0)


@dataclass(frozen=True)
class Generator:
    """Frozen networks on this process's device, in the precision that images are sampled in."""

    base: Base
    denoiser: Denoiser
    vae: AutoencoderKL
    text_encoder: nn.Module
    tokenizer: PreTrainedTokenizerBase  # counts tokens, see `Base.load_tokenizer`
    sampler: SchedulerMixin
    text_chunks: int  # 77-token chunks that a caption may fill
    condition: Condition | None = None  # the denoiser's input from a pre image; None = none
    sequence: int = 1  # pre images that it takes
    latents_scale: LatentScale = UNSCALED  # of conditioning latents

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        device: torch.device = self.denoiser.unet.device
        return device

    @property
    def cell_px(self) -> int:
        """Pixels per latent cell along one axis."""
        return 1 << (len(self.vae.config.block_out_channels) - 1)

    def encoded(self, prompts: Sequence[str], guided: bool) -> dict[str, Tensor]:
        """What `Base.encode` gives of captions, `states` (B, tokens, D); or (2 B, ...) with empty ones first."""
        found = [
            self.base.encode(self.text_encoder, self.base.tokenize(texts, self.text_chunks).to(self.device))
            for texts in ([[""] * len(prompts), prompts] if guided else [prompts])
        ]
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def conditions(
        self,
        prompts: Sequence[str],
        pre: Sequence[Pixels] | None,
        metadata: Sequence[Metadata] | None,
        sampling: Sampling,
        places: Sequence[Place],
    ) -> Conditions:
        """What a batch is conditioned on: everything that stays the same in every denoising step.

        Raises:
            GenerateError: pre images with a different number of channels than in training.
        """
        guided = sampling.guidance_scale > 1
        shown = times(self.shown(pre) if pre else None, 1 + guided)
        told = self.encoded(prompts, guided)
        states = told.pop("states")
        told |= {name: torch.cat([rows] * (1 + guided)) for name, rows in self.placed(places).items()}
        if metadata is not None:
            rows = zip(METADATA, zip(*metadata, strict=True), strict=True)
            told |= {name: _normalised(numbers, guided, self.device) for name, numbers in rows}
        return Conditions(states, shown, told, guided)

    def placed(self, places: Sequence[Place]) -> dict[str, Tensor]:
        """What the networks are told of where images lie."""
        return self.base.family.placed(torch.tensor(places, device=self.device))

    def shown(self, pre: Sequence[Pixels]) -> Shown | None:
        """Pre images as the denoiser takes them: (B, K, H, W) in [0, 1], latents (B, C, h, w), features; None."""
        if self.condition is None:
            return None
        images, channels = conditioning(pre).to(self.device), self.condition.channels * self.sequence
        if images.shape[1] != channels:
            raise GenerateError(
                f"the checkpoint was trained with {channels} channels (an image has 3, a mask of damage "
                f"{DAMAGE_VALUES_SHOWN}, a hole 1), but got {images.shape[1]}. If it is conditioned on a mask, pass "
                "--mask, or a built dataset, "
                "which has masks."
            )
        if self.condition.latents:
            return condition_latents(self.latents_scale.scaled(encode(self.vae, images[:, :3])), images)
        return self.denoiser.prepared(images)

    def predict(self, noisy: Tensor, timestep: Tensor, given: Conditions, sampling: Sampling) -> Tensor:
        """(B, C, h, w) float32, guided by caption and metadata."""
        with nullcontext() if self._controls(timestep, sampling) else self.denoiser.without_control():
            predicted: Tensor = self.denoiser(
                torch.cat([noisy] * (1 + given.guided)),
                timestep,
                given.states,
                given.pre,
                scale=sampling.control_scale,
                **given.told,
            )
        return guide(predicted, sampling.guidance_scale) if given.guided else predicted

    def _controls(self, timestep: Tensor, sampling: Sampling) -> bool:
        """Whether the ControlNet, if there is one, works at this timestep."""
        if self.denoiser.controlnet is None or (sampling.control_start, sampling.control_end) == (0, 1):
            return True  # without waiting for the device to give the step
        # Solvers that predict twice in a step have its timestep twice.
        return sampling.controls(step=int((self.sampler.timesteps.unique() > timestep).sum()))

    def images(self, latents: Tensor, seeds: Sequence[int]) -> Pixels:
        """(B, H, W, 3) images decoded from latents.

        Raises:
            GenerateError: they are NaN or infinite.
        """
        decoded = to_unit(decode(self.vae, latents))
        check_finite(decoded, seeds)
        return as_pixels(decoded)


def load_generator(checkpoint: Checkpoint, parts: Base, sampling: Sampling) -> Generator:
    """Load the trained weights onto their base.

    Args:
        checkpoint: what `open_checkpoint` found.
        parts: its base.
        sampling: its scheduler and precision.

    Raises:
        CheckpointError: its weights are truncated, or belong to another network.
    """
    dtype, trained = compute_type(sampling.precision, PartialState().device), PARTS[checkpoint.trained]
    check_sampler(parts, sampling.scheduler, checkpoint.zero_terminal_snr)
    keep_freed_memory()
    unet, controlnet = parts.load_unet(dtype), None
    with usable(checkpoint.weights):
        if CONTROLNET in trained:
            controlnet = load_controlnet(checkpoint.weights / CONTROLNET, dtype, parts.family.controlnet_class)
        if T2I_ADAPTER in trained:
            controlnet = load_controlnet(checkpoint.weights / T2I_ADAPTER, dtype, lambda _: T2IAdapter)
        if CONTROLNET_LORA in trained:
            controlnet = load_controlnet_lora(checkpoint.weights / CONTROLNET_LORA, unet, parts.family.controlnet_class)
        if CONV_IN in trained:
            concatenate_pre(unet, load_trained(checkpoint.weights)[PRE_CONV])
        if LORA in trained:
            load_adapter(checkpoint.weights / LORA, unet, parts.family.network)
    use_few_bits(checkpoint.base_bits, unet, controlnet)
    denoiser = Denoiser(parts.family, unet, controlnet, compute_dtype=dtype)
    return replace(
        _complete(parts, denoiser, sampling, checkpoint.text_chunks, checkpoint.zero_terminal_snr),
        condition=None if trained == [LORA] else condition_of(checkpoint.trained, checkpoint.condition),
        sequence=checkpoint.sequence,
        latents_scale=LatentScale(1.0) if CONV_IN in trained else parts.latents,
    )


def load_untrained(parts: Base, sampling: Sampling, text_chunks: int, zero_terminal_snr: bool = False) -> Generator:
    """Load a base alone.

    Args:
        parts: the base.
        sampling: its scheduler and precision.
        text_chunks: 77-token chunks of a caption.
        zero_terminal_snr: the noise schedule is rescaled to end in pure noise.

    Raises:
        GenerateError: the scheduler does not fit the base.
    """
    check_sampler(parts, sampling.scheduler, zero_terminal_snr)
    keep_freed_memory()
    dtype = compute_type(sampling.precision, PartialState().device)
    denoiser = Denoiser(parts.family, parts.load_unet(dtype), compute_dtype=dtype)
    return _complete(parts, denoiser, sampling, text_chunks, zero_terminal_snr)


def _complete(parts: Base, denoiser: Denoiser, sampling: Sampling, chunks: int, zero_terminal_snr: bool) -> Generator:
    """With the smaller networks, loaded after the large ones: files are in memory while they are read."""
    device, dtype = PartialState().device, denoiser.compute_dtype
    _speed_up([denoiser.unet, denoiser.controlnet], device)
    vae, text_encoder = parts.load_vae(dtype), parts.load_text_encoder(dtype)
    _speed_up([vae], device)
    return Generator(
        parts,
        denoiser.to(device),
        vae.to(device),
        text_encoder.to(device),
        parts.load_tokenizer(),
        parts.load_sampler(sampling.scheduler, zero_terminal_snr),
        chunks,
    )


def _speed_up(networks: Sequence[Any], device: torch.device) -> None:
    for network in networks:
        if network is not None and device.type == "cpu":
            use_cpu_layers(network, stored=network.dtype, computed=network.dtype)
            give_back_freed_memory()  # of the other order of the weights


@torch.inference_mode()
def generate_images(
    generator: Generator,
    pre: Sequence[Pixels],
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    on_step: Callable[[int], None] = lambda done: None,
    metadata: Sequence[Metadata] | None = None,
    places: Sequence[Place] | None = None,
) -> Pixels:
    """Generate one batch.

    Args:
        generator: from `load_generator`.
        pre: pre images, all of one size.
        prompts: one for each image.
        seeds: of each image's own CPU generator: its noise depends neither on its batch nor on the device.
        sampling: its scheduler, precision and seed are already in `generator` and `seeds`.
        on_step: called with the number of finished steps.
        metadata: one for each image, for networks conditioned on them; None = unknown.
        places: where each lies in its scene; None = each is a scene of its own.

    Returns:
        (batch, height, width, 3) uint8.
    """
    set_steps(generator, sampling.steps)
    places = places or [whole(*image.shape[:2]) for image in pre]
    given = generator.conditions(prompts, pre, metadata, sampling, places)
    sampler, size = generator.sampler, [side // generator.cell_px for side in pre[0].shape[:2]]
    shape, random = (generator.vae.config.latent_channels, *size), generators(seeds)
    start = noise(shape, random, generator.device) * sampler.init_noise_sigma
    latents = sample(
        lambda noisy, timestep: generator.predict(noisy, timestep, given, sampling),
        sampler,
        start,
        sampler.timesteps,
        lambda done, _: on_step(done),
        random,
    )
    return generator.images(latents, seeds)


def set_steps(generator: Generator, steps: int) -> None:
    """Set the sampler's number of steps, or raise if it does not support that many."""
    most = generator.sampler.config.num_train_timesteps - 1
    if not 1 <= steps <= most:
        raise GenerateError(f"steps is {steps}; expected 1 to {most}, usually 20 to 100.")
    generator.sampler.set_timesteps(steps, device=generator.device)


def conditioning(pre: Sequence[Pixels]) -> Tensor:
    """(B, K, H, W) float32 in [0, 1], as diffusers converts PIL images."""
    return torch.from_numpy(np.stack(pre).astype(np.float32) / 255).permute(0, 3, 1, 2).contiguous()


def check_finite(values: NDArray[Any], seeds: Sequence[int]) -> None:
    """Stop if the output contains NaN or infinite values."""
    if not np.isfinite(values).all():
        raise GenerateError(
            f"the output is NaN or infinite (seeds {list(seeds)}): the weights have diverged. Use an earlier "
            "checkpoint. With bf16, try fp32 first."
        )


def _normalised(rows: Sequence[Any], guided: bool, device: torch.device) -> Tensor:
    """METADATA_FIELDS in natural units, normalised for the networks; under guidance rows of unknowns come first."""
    known = normalised_batch(list(rows), len(rows)).to(device)
    return torch.cat([torch.full_like(known, torch.nan), known]) if guided else known
