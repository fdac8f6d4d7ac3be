"""Training without a cache: the frozen VAE and text encoder run in every step."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.base import Base
from models.images import condition_latents
from train.inputs.cache import encode_images
from train.inputs.examples import named, sample
from train.inputs.recipe import Recipe

Batch = dict[str, Tensor]


def unchanged(batch: Batch) -> Batch:
    """Return a batch from the cache unchanged."""
    return batch


def encoder_of(base: Base, recipe: Recipe, device: torch.device) -> Callable[[Batch], Batch]:
    """Load both networks onto the device, float32.

    Returns:
        A function that turns a batch of uncached `Examples` into the one the cache would give.
    """
    vae, text_encoder = base.load_vae().to(device), base.load_text_encoder().to(device)

    @torch.no_grad()
    def encode(batch: Batch) -> Batch:
        encoded = dict(batch)
        posterior = encode_images(vae, encoded.pop("target_pixels"))
        encoded["latents"] = sample(posterior, encoded.pop("spread"), recipe.latents)
        encoded |= named(base.encode(text_encoder, encoded.pop("token_ids")))
        if recipe.show_latents is not None:
            pixels = batch["condition"]
            latents = recipe.show_latents.scaled(encode_images(vae, pixels[:, :3])["mean"])
            encoded["condition"] = condition_latents(latents, pixels.float() / 255)
        return encoded

    return encode
