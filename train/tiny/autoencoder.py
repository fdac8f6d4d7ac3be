"""The first stage: an autoencoder on crops, against a small patch discriminator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor, nn

from data.examples.sampler import example_rng, view_of
from models.tiny_networks import tiny_vae
from train.errors import ConfigError
from train.tiny.config import AutoencoderConfig, NetworksConfig, TinyConfig
from train.tiny.discriminator import PatchDiscriminator, feature_distance, hinge_loss
from train.tiny.images import Images, to_network
from train.tiny.precision import autocast
from train.tiny.quality import reconstruction_report

Losses = dict[str, Tensor]


class AutoencoderStage:
    """One training step, and validation."""

    name = "autoencoder"
    averaged: tuple[str, ...] = ("vae",)

    def __init__(self, config: TinyConfig, train: Images, held_out: Images) -> None:
        self.settings: AutoencoderConfig = config.autoencoder
        self.config, self.train, self.held_out = config, train, held_out
        self.vae, self.discriminator = new_networks(config)
        if config.networks.start:
            self.vae.load_state_dict(vae_of(config.networks, config.networks.start).state_dict())
        self.networks = nn.ModuleDict({"vae": self.vae, "discriminator": self.discriminator})

    def backward(self, step: int) -> Losses:
        """Gradients of one step; the losses by name."""
        settings = self.settings
        pixels, noise = self.draw(step)
        judged = step >= settings.adversarial_from and settings.adversarial_weight + settings.feature_weight > 0
        self.discriminator.requires_grad_(False)  # only scores here
        with autocast(settings.precision):
            posterior = self.vae.encode(pixels).latent_dist
            decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
            losses = pixel_losses(decoded, pixels) | {"kl": posterior.kl().float().mean()}
            if judged:
                with torch.no_grad():
                    _, real_features = self.discriminator(pixels)
                verdict, features = self.discriminator(decoded)
                losses["features"] = feature_distance(features, real_features)
                losses["adversarial"] = -verdict.float().mean()
        self.weighted(losses).backward()
        if judged:
            self.discriminator.requires_grad_(True)
            with autocast(settings.precision):
                verdicts = self.discriminator(torch.cat([pixels, decoded.detach()]))[0].chunk(2)
            losses["discriminator"] = hinge_loss(*verdicts)
            losses["discriminator"].backward()
        return losses

    def weighted(self, losses: Losses) -> Tensor:
        """What the autoencoder minimises."""
        settings = self.settings
        weights = {
            "absolute": 1.0,
            "squared": settings.squared_weight,
            "edges": settings.edge_weight,
            "kl": settings.kl_weight,
            "features": settings.feature_weight,
            "adversarial": settings.adversarial_weight,
        }
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Crops in random orientations (of eight), and the noise of their latents: a pure function of (seed, step)."""
        seed, batch = self.config.data.seed, self.settings.batch
        examples = [self._example(seed, ordinal) for ordinal in range(step * batch, (step + 1) * batch)]
        crops, noise = (np.stack(each) for each in zip(*examples, strict=True))
        return to_network(crops).contiguous(memory_format=torch.channels_last), torch.from_numpy(noise)

    def _example(self, seed: int, ordinal: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        rng, side = example_rng(seed, ordinal), self.settings.crop
        image = self.train.pixels(view_of(seed, ordinal, len(self.train)))
        top, left = rng.integers(len(image) - side + 1, size=2)
        crop = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        cells = side // 2 ** (len(self.config.networks.vae_channels) - 1)
        return crop, rng.standard_normal((self.config.networks.latent_channels, cells, cells), dtype=np.float32)

    def publish(self) -> None:
        """Do nothing: a base needs the second stage too."""

    def look(self, folder: Path, stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Reconstructions of held-out images; see `reconstruction_report`."""
        validation = self.config.validation
        return reconstruction_report(self.vae, self.held_out, validation.images, validation.shown, folder, stop)


def vae_of(networks: NetworksConfig, base: Path) -> AutoencoderKL:
    """The autoencoder of a base, float32.

    Raises:
        ConfigError: it has other sizes than `networks`.
    """
    vae = AutoencoderKL.from_pretrained(base / "vae", use_safetensors=True)
    sizes = {"vae_channels": list(vae.config.block_out_channels), "latent_channels": vae.config.latent_channels}
    for name, size in sizes.items():
        if size != getattr(networks, name):
            raise ConfigError(
                f"networks.{name} is {getattr(networks, name)}, but {base}/vae has {size}. Set it to that."
            )
    return vae


def new_networks(config: TinyConfig) -> tuple[AutoencoderKL, PatchDiscriminator]:
    """Networks with initial weights, a pure function of the seed."""
    networks = config.networks
    torch.manual_seed(config.data.seed)
    vae = tiny_vae(networks.vae_channels, networks.latent_channels, networks.vae_layers)
    return vae.to(memory_format=torch.channels_last), PatchDiscriminator(networks.discriminator_width)


def pixel_losses(decoded: Tensor, pixels: Tensor) -> Losses:
    """Absolute and squared error, and the absolute error of the image gradients in both directions."""
    error = decoded - pixels
    return {
        "absolute": error.abs().mean(),
        "squared": error.square().mean(),
        "edges": error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean(),
    }


@torch.no_grad()
def standardise(vae: AutoencoderKL, means: Tensor) -> None:
    """Standardise every latent channel to mean 0 and variance 1, exactly, in the 1 x 1 convolutions at the bottleneck.

    All channels then have the same SNR, and the scaling factor is 1.

    Args:
        vae: modified in place; decode(encode(x)) is unchanged.
        means: (N, C, h, w) latents of many images.
    """
    mean, std = means.mean((0, 2, 3)), means.std((0, 2, 3))
    encoded, decoded, channels = vae.quant_conv, vae.post_quant_conv, len(mean)
    decoded.bias += decoded.weight[:, :, 0, 0] @ mean
    decoded.weight *= std.view(1, -1, 1, 1)
    encoded.weight[:channels] /= std.view(-1, 1, 1, 1)
    encoded.bias[:channels] = (encoded.bias[:channels] - mean) / std
    encoded.bias[channels:] -= 2 * std.log()  # these are log variances


def informative(means: Tensor, stds: Tensor) -> Tensor:
    """(C,) bool: which channels carry at least one bit a cell, as Gaussian channels of their signal-to-noise ratio.

    Of the others the decoder has learned to ignore nearly everything (posterior collapse); standardised they would be
    amplified noise, which a denoiser spends its capacity on, and trainers that sample the posterior drown in.

    Args:
        means: (N, C, h, w) of the posteriors of many images.
        stds: their standard deviations.
    """
    signal, noise = means.var((0, 2, 3)), stds.square().mean((0, 2, 3))
    kept = torch.log2(1 + signal / noise) / 2 >= 1
    return kept if kept.any() else torch.ones_like(kept)  # none after a handful of steps


@torch.no_grad()
def only_channels(vae: AutoencoderKL, kept: Tensor) -> AutoencoderKL:
    """The same autoencoder with some of its latent channels; the others are 0, their mean, for its decoder.

    The 1 x 1 convolutions at the bottleneck are folded into their neighbours. Exact but for cells at the border, if the
    decoder's bias is not a combination of the kept channels.

    Args:
        vae: with standardised latents.
        kept: (C,) bool.
    """
    both = torch.cat([kept, kept])  # means, log variances
    mixed, given = vae.quant_conv.weight[both][:, :, 0, 0], vae.post_quant_conv.weight[:, kept, 0, 0]
    offset = torch.linalg.lstsq(given, vae.post_quant_conv.bias[:, None]).solution[:, 0]  # in units of the latents
    rest = vae.post_quant_conv.bias - given @ offset
    out, into, count = vae.encoder.conv_out, vae.decoder.conv_in, int(kept.sum())
    weights = vae.state_dict() | {
        "encoder.conv_out.weight": torch.einsum("ij,jchw->ichw", mixed, out.weight),
        "encoder.conv_out.bias": mixed @ out.bias + vae.quant_conv.bias[both],
        "quant_conv.weight": torch.eye(2 * count)[:, :, None, None],
        "quant_conv.bias": torch.zeros(2 * count),
        "post_quant_conv.weight": torch.eye(count)[:, :, None, None],
        "post_quant_conv.bias": offset,
        "decoder.conv_in.weight": torch.einsum("cjhw,ji->cihw", into.weight, given),
        "decoder.conv_in.bias": into.bias + into.weight.sum((2, 3)) @ rest,
    }
    smaller: AutoencoderKL = AutoencoderKL.from_config({**vae.config, "latent_channels": count})
    smaller.load_state_dict(weights)
    return smaller
