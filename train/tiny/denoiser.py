"""The second stage: UNet and text encoder together, on the latents of the finished autoencoder."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTokenizer

from data.sampler import example_rng, view_of
from models.text import tokenize
from models.tiny_networks import tiny_noise_schedule, tiny_text_encoder, tiny_unet
from train.networks import DTYPES
from train.tiny.base_folder import look_at_base
from train.tiny.config import DenoiserConfig, TinyConfig
from train.tiny.images import PHASES, Images
from train.views import View, captions_of_views, views_of

ENCODED_AT_ONCE = 16
TIMESTEPS = 1000


class DenoiserStage:
    """What a step does, and what is measured."""

    name, averaged = "denoiser", ("unet", "text_encoder")

    def __init__(
        self, config: TinyConfig, vae: AutoencoderKL, vae_hash: str, tokenizer: CLIPTokenizer, train: Images, held_out: Images
    ) -> None:
        self.settings: DenoiserConfig = config.denoiser
        self.config, self.vae, self.tokenizer = config, vae, tokenizer
        self.train, self.held_out = (Latents(config, vae, vae_hash, tokenizer, images) for images in (train, held_out))
        self.schedule = tiny_noise_schedule()
        networks = config.networks
        torch.manual_seed(config.data.seed)
        self.unet = tiny_unet(
            networks.unet_channels,
            networks.latent_channels,
            networks.text_width,
            layers=networks.unet_layers,
            sample_size=self.train.side,
        ).to(memory_format=torch.channels_last)
        self.text_encoder = tiny_text_encoder(tokenizer, networks.text_width, networks.text_layers)
        self.networks = nn.ModuleDict({"unet": self.unet, "text_encoder": self.text_encoder})

    def backward(self, step: int) -> dict[str, Tensor]:
        """Gradients of one step; the loss."""
        batch = self.settings.batch
        drawn = [self.draw(ordinal) for ordinal in range(step * batch, (step + 1) * batch)]
        clean, noise, tokens, timesteps = (torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True))
        loss = self.errors(clean, noise, tokens, timesteps).mean()
        loss.backward()
        return {"loss": loss}

    def errors(self, clean: Tensor, noise: Tensor, tokens: Tensor, timesteps: Tensor) -> Tensor:
        """(B,) mean squared error of the predicted velocity."""
        settings = self.settings
        noisy = self.schedule.add_noise(clean, noise, timesteps)
        with torch.autocast("cpu", DTYPES[settings.precision], enabled=settings.precision != "fp32"):
            states = self.text_encoder(tokens.long()).last_hidden_state
            predicted = self.unet(noisy, timesteps, states).sample.float()
        error = F.mse_loss(predicted, self.schedule.get_velocity(clean, noise, timesteps), reduction="none")
        return error.mean((1, 2, 3))

    def draw(self, ordinal: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int16], np.int64]:
        """Latents of a view, noise, tokens and timestep: a pure function of (seed, ordinal)."""
        data = self.config.data
        rng = example_rng(data.seed, ordinal)
        view = view_of(data.seed, ordinal, len(self.train.views))
        tokens = self.train.empty if rng.random() < data.caption_dropout else self.train.tokens(view, rng)
        clean = self.train.latents(view)
        return clean, rng.standard_normal(clean.shape, dtype=np.float32), tokens, rng.integers(TIMESTEPS)

    def look(self, folder: Path, stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Errors on held-out images, with their captions and without; then the base as a folder, and its pictures."""
        found: dict[str, float] = {}
        validation = self.config.validation
        bins = [int((i + 0.5) * TIMESTEPS / validation.timesteps) for i in range(validation.timesteps)]
        views = [int(v) for v in np.linspace(0, len(self.held_out.views) - 1, validation.images)]
        for timestep in bins:
            with_text, without = self.held_out_errors(views, timestep, stop)
            if stop():
                return None
            found[f"loss_t{timestep}"] = with_text
            found[f"text_gain_t{timestep}"] = without - with_text
        means = {name: float(np.mean([x for key, x in found.items() if key.startswith(name)])) for name in ("loss", "text_gain")}
        shown = [(self.held_out.real(v), self.held_out.caption(v)) for v in views[:: max(1, len(views) // validation.shown)]]
        networks = (self.vae, self.text_encoder, self.tokenizer, self.unet, self.schedule)
        complete = look_at_base(self.config.run.out, networks, shown[: validation.shown], folder, stop)
        return means | found if complete else None

    def held_out_errors(self, views: list[int], timestep: int, stop: Callable[[], bool]) -> tuple[float, float]:
        """Mean error with captions and with empty ones, always with the same noise."""
        sums, size = np.zeros(2), self.settings.batch
        for first in range(0, len(views), size):
            if stop():
                break
            part = views[first : first + size]
            rngs = [example_rng(0, view) for view in part]
            clean = torch.from_numpy(np.stack([self.held_out.latents(view) for view in part]))
            noise = torch.from_numpy(np.stack([rng.standard_normal(clean.shape[1:], dtype=np.float32) for rng in rngs]))
            spoken = np.stack([self.held_out.tokens(view, rng) for view, rng in zip(part, rngs, strict=True)])
            for number, tokens in enumerate((spoken, np.stack([self.held_out.empty] * len(part)))):
                at = torch.full((len(part),), timestep)
                sums[number] += self.errors(clean, noise, torch.from_numpy(tokens), at).sum().item()
        with_text, without = sums / len(views)
        return float(with_text), float(without)


class Latents:
    """Latents and tokens of every view: an image, mirrored or not, with the captions that say what it shows."""

    def __init__(
        self, config: TinyConfig, vae: AutoencoderKL, vae_hash: str, tokenizer: CLIPTokenizer, images: Images
    ) -> None:
        data = config.data
        self.images = images
        self.views = views_of(len(images.rows), mirror=True, direction="both")
        self.texts, self.captions = captions_of_views(images.rows, self.views, data.caption_styles)
        lines = [text.split("\n") for text in self.texts]  # of `chunks`, which trainers encode line by line
        ends = np.cumsum([len(each) for each in lines])
        self.spans = np.stack([ends - [len(each) for each in lines], ends], 1)
        self.all_tokens = tokens_of(tokenizer, [line for each in lines for line in each])
        self.empty = self.all_tokens[self.spans[self.texts.index("")][0]]
        folder = data.folder / "latents"
        self.parts = [
            encoded(folder / f"{name}-{vae_hash[:16]}.npy", vae, part)
            for name, part in zip(images.names, images.parts, strict=True)
        ]
        self.side = self.parts[0].shape[-1]

    def latents(self, view: int) -> NDArray[np.float32]:
        """(C, h, w)."""
        patch, phase, mirrored = self._of(self.views[view])
        for part in self.parts:
            if patch < len(part):
                return part[patch, phase, mirrored].astype(np.float32)
            patch -= len(part)
        raise IndexError(view)

    def tokens(self, view: int, rng: np.random.Generator) -> NDArray[np.int16]:
        """(77,) of one of its captions."""
        first, end = self.spans[self.captions[view].draw(rng)]
        return self.all_tokens[rng.integers(first, end)]

    def caption(self, view: int) -> str:
        """Its first one, as it stands on contact sheets."""
        return self.texts[self.captions[view].rows[0]]

    def real(self, view: int) -> NDArray[np.uint8]:
        """(H, W, 3)."""
        patch, phase, mirrored = self._of(self.views[view])
        pixels = self.images.pixels(len(PHASES) * patch + phase)
        return pixels[:, ::-1] if mirrored else pixels

    def _of(self, view: View) -> tuple[int, int, int]:
        return view.patch, PHASES.index(view.target), int(view.mirrored)


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> NDArray[np.int16]:
    """(N, 77), longer texts cut off."""
    tokens: NDArray[np.int16] = tokenize(tokenizer, texts)[:, 0].numpy().astype(np.int16)
    return tokens


def encoded(path: Path, vae: AutoencoderKL, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Posterior means of every image and its mirror image, (patches, 2 phases, 2 sides, C, h, w), kept in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        shape: tuple[int, ...] | None = None
        with tqdm(total=len(pixels), desc="encode patches", unit="patch") as bar:
            for first in range(0, len(pixels), ENCODED_AT_ONCE):
                means = latent_means(vae, pixels[first : first + ENCODED_AT_ONCE])
                if shape is None:
                    shape = (len(pixels), *means.shape[1:])
                    file = open_memmap(partial, "w+", np.float16, shape)
                file[first : first + len(means)] = means
                bar.update(len(means))
        file.flush()
        partial.replace(path)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


@torch.no_grad()
def latent_means(vae: AutoencoderKL, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """(B, 2, H, W, 3) -> (B, 2 phases, 2 sides, C, h, w)."""
    both = np.stack([pixels, pixels[:, :, :, ::-1]], axis=2)
    flat = torch.from_numpy(both).flatten(0, 2).permute(0, 3, 1, 2).float() / 127.5 - 1
    means = vae.encode(flat).latent_dist.mean
    return means.view(*both.shape[:3], *means.shape[1:]).half().numpy()  # type: ignore[no-any-return]
