"""The second stage: UNet and text encoder together, on the latents of the trained autoencoder."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import CLIPTokenizer

from data.examples.sampler import example_rng, view_of
from models.base import Base, load_base
from models.cpu.attention import use_cpu_attention
from models.cpu.layers import use_cpu_norms
from models.cpu.precision import compute_type
from models.tiny_networks import tiny_noise_schedule, tiny_text_encoder, tiny_unet
from train.errors import ConfigError
from train.tiny.base_folder import pipeline_of, show_captions, write_base
from train.tiny.config import DenoiserConfig, TinyConfig
from train.tiny.latents import Latents
from train.tiny.precision import autocast
from train.tiny.quality import evenly

TIMESTEPS = 1000


class DenoiserStage:
    """One training step, and validation."""

    name = "denoiser"
    averaged: tuple[str, ...] = ("unet", "text_encoder")

    def __init__(
        self, config: TinyConfig, vae: AutoencoderKL, tokenizer: CLIPTokenizer, train: Latents, held_out: Latents
    ) -> None:
        self.settings: DenoiserConfig = config.denoiser
        self.config, self.train, self.held_out = config, train, held_out
        self.schedule, networks = tiny_noise_schedule(), config.networks
        torch.manual_seed(config.data.seed)
        self.unet = tiny_unet(
            networks.unet_channels,
            vae.config.latent_channels,
            networks.text_width,
            layers=networks.unet_layers,
            sample_size=train.side,
        ).to(memory_format=torch.channels_last)
        if compute_type(self.settings.precision, torch.device("cpu")) != torch.float32:
            use_cpu_attention(self.unet)
        use_cpu_norms(self.unet)
        self.text_encoder = tiny_text_encoder(tokenizer, networks.text_width, networks.text_layers)
        if networks.start and (networks.start / "unet").is_dir():
            self.go_on_from(load_base(networks.start))
        self.networks = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})
        self.pipeline = pipeline_of(vae, self.text_encoder, tokenizer, self.unet, self.schedule)
        # Parts of a batch side by side are faster than threads inside of each operation: most are short.
        self.threads = ThreadPoolExecutor(config.run.threads, initializer=torch.set_num_threads, initargs=(1,))

    def go_on_from(self, base: Base) -> None:
        """Take over another base's UNet and text encoder.

        Raises:
            ConfigError: they are of other sizes.
        """
        try:
            self.unet.load_state_dict(base.load_unet().state_dict())
            self.text_encoder.load_state_dict(base.load_text_encoder().state_dict())
        except RuntimeError as error:
            raise ConfigError(f"networks.start is {base.name}, whose networks are of other sizes: {error}") from error

    def backward(self, step: int) -> dict[str, Tensor]:
        """Gradients of one step; the loss."""
        batch, weights = self.settings.batch, list(self.networks.parameters())
        parts = np.array_split(np.arange(step * batch, (step + 1) * batch), self.config.run.threads)

        def of_part(ordinals: NDArray[np.int64]) -> tuple[Tensor, ...]:
            drawn = [self.draw(int(ordinal)) for ordinal in ordinals]
            loss = self.errors(*(torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True))).sum() / batch
            return loss.detach(), *torch.autograd.grad(loss, weights)

        loss, *gradients = (torch.stack(each).sum(0) for each in zip(*self.threads.map(of_part, parts), strict=True))
        for weight, gradient in zip(weights, gradients, strict=True):
            # In the memory format of the weight: the fused optimizer takes both as they lie in memory.
            weight.grad = torch.empty_like(weight).copy_(gradient)
        return {"loss": loss}

    def draw(self, ordinal: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16], np.int64]:
        """Latents of a view, noise, tokens and timestep: a pure function of (seed, ordinal)."""
        data = self.config.data
        rng = example_rng(data.seed, ordinal)
        view = view_of(data.seed, ordinal, len(self.train.views))
        tokens = self.train.empty if rng.random() < data.caption_dropout else self.train.tokens(view, rng)
        clean = self.train.latents(view)
        return clean, rng.standard_normal(clean.shape, dtype=np.float32), tokens, rng.integers(TIMESTEPS)

    def errors(self, clean: Tensor, noise: Tensor, tokens: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) mean squared error of the predicted velocity."""
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        with autocast(self.settings.precision):
            states = self.text_encoder(tokens.long()).last_hidden_state
            predicted = self.unet(noisy, timesteps, states).sample.float()
        squared = F.mse_loss(predicted, self.schedule.get_velocity(clean, noise, timesteps), reduction="none")
        return squared.mean((1, 2, 3))

    def look(self, folder: Path, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Errors on held-out images, with their captions and with empty ones; images generated from captions."""
        validation, found = self.config.validation, {}
        views = evenly(len(self.held_out.views), validation.images)
        for number in range(validation.timesteps):
            timestep = int((number + 0.5) * TIMESTEPS / validation.timesteps)
            with_text, without = self.held_out_errors(views, timestep, stop)
            found[f"loss_t{timestep}"] = with_text
            found[f"text_gain_t{timestep}"] = without - with_text
        means = {
            name: float(np.mean([value for key, value in found.items() if key.startswith(name)]))
            for name in ("loss", "text_gain")
        }
        shown = [views[number] for number in evenly(len(views), validation.shown)]
        pairs = [(self.held_out.real(view), self.held_out.caption(view)) for view in shown]
        return means | found if show_captions(self.pipeline, pairs, folder, stop) else None

    def held_out_errors(self, views: list[int], timestep: int, stop: Callable[[], bool]) -> tuple[float, float]:
        """Mean error with captions and with empty ones, always with the same noise; invalid after a stop."""
        sums, size = np.zeros(2), self.settings.batch
        for part in (views[first : first + size] for first in range(0, len(views), size)):
            if stop():
                break
            rngs = [example_rng(0, view) for view in part]
            clean = np.stack([self.held_out.latents(view) for view in part])
            noise = np.stack([rng.standard_normal(clean.shape[1:], dtype=np.float32) for rng in rngs])
            captions = np.stack([self.held_out.tokens(view, rng) for view, rng in zip(part, rngs, strict=True)])
            at = torch.full((len(part),), timestep)
            for number, tokens in enumerate((captions, np.broadcast_to(self.held_out.empty, captions.shape).copy())):
                errors = self.errors(torch.from_numpy(clean), torch.from_numpy(noise), torch.from_numpy(tokens), at)
                sums[number] += errors.sum().item()
        with_text, without = sums / len(views)
        return float(with_text), float(without)

    def publish(self) -> None:
        """The base as a folder, with the averaged weights."""
        write_base(self.config.run.out, self.pipeline, self.config.networks.start)
