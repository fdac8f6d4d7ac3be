"""Text2Earth: Stable Diffusion 2.1 whose UNet is also told the ground resolution, as a level of Google's maps.

Its own pipeline reads the level before the prompt, as in `16_GOOGLE_LEVEL_a harbour`, and takes it away before the text
is encoded. Here it follows from the metadata of the image to generate, and prompts have no such prefix.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import ControlNetModel
from torch import Tensor

from models.base_config import config_path, read_json
from models.diffusionsat.metadata import METADATA_FIELDS, SCALE
from models.families.family import Added, Network, NewControlNet, Only, Told
from models.families.stable_diffusion import StableDiffusion

FINEST, COARSEST, FINEST_GSD = 18, 10, 0.5  # levels it was trained with (Liu et al. 2025); metres per pixel at FINEST
UNKNOWN = 0


class Text2Earth(StableDiffusion):
    """A UNet with one number, embedded like the timestep, for the size of a pixel."""

    name = "Text2Earth"
    metadata = True
    stock = None
    class_embedding = "timestep"
    only: ClassVar[Mapping[str, Only]] = {
        **StableDiffusion.only,
        "model.controlnet": (("2d",), "DiffusionSat's ControlNets are not told the ground resolution"),
        "model.metadata": (("base",), "both its UNet and the copy of it are told the ground resolution"),
    }

    def is_of(self, folder: Path) -> bool:
        """Its UNet embeds a class label like a timestep."""
        path = config_path(folder, "unet")
        return super().is_of(folder) and path.is_file() and read_json(path).get("class_embed_type") == "timestep"

    def new_controlnet(self, network: Network, asked: NewControlNet) -> ControlNetModel:
        """A copy of the encoder, its embedding of the level included."""
        return super().new_controlnet(network, replace(asked, metadata=False))

    def control(
        self,
        controlnet: Network,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor,
        condition: Tensor | None,
        scale: float,
        told: Told,
    ) -> dict[str, Tensor | list[Tensor]]:
        """As with Stable Diffusion, told the level."""
        told = {**told, "level": levels(told, noisy)}
        return super().control(controlnet, noisy, timesteps, states, condition, scale, told)

    def predict(
        self, network: Network, noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told, added: Added
    ) -> Tensor:
        """As with Stable Diffusion, told the level."""
        return super().predict(network, noisy, timesteps, states, {**told, "level": levels(told, noisy)}, added)

    def arguments(self, told: Told) -> dict[str, Any]:
        """Of UNet and ControlNet alike."""
        return {"class_labels": told["level"]}


def levels(told: Told, like: Tensor) -> Tensor:
    """(B,) of `metadata` (B, 7); UNKNOWN where the ground size is, as without caption under guidance.

    Args:
        told: what the networks are told.
        like: (B, ...), on their device.
    """
    if (metadata := told.get("metadata")) is None:
        return torch.full((len(like),), UNKNOWN, device=like.device)
    gsd = metadata[:, METADATA_FIELDS.index("gsd")].to(like.device) / SCALE
    exact = FINEST - torch.log2(gsd / FINEST_GSD)
    return exact.round().clamp(COARSEST, FINEST).nan_to_num(UNKNOWN).long()
