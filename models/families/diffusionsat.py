"""DiffusionSat: Stable Diffusion 2.1 whose UNet is also told where, when and how sharply an image was taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.base_config import config_path, read_json
from models.diffusionsat.unet import SatUNet
from models.families.family import Added, Network, Told
from models.families.stable_diffusion import StableDiffusion


class DiffusionSat(StableDiffusion):
    """A UNet with seven numbers of metadata beside the timestep."""

    name = "DiffusionSat"
    metadata = True
    stock = None

    def is_of(self, folder: Path) -> bool:
        """Its UNet says so."""
        path = config_path(folder, "unet")
        return super().is_of(folder) and path.is_file() and bool(read_json(path).get("use_metadata"))

    def network_class(self, part: str, config: Mapping[str, Any]) -> type[Network]:
        """A UNet that takes metadata, where its config says so."""
        return SatUNet if part == "unet" and config.get("use_metadata") else super().network_class(part, config)

    def predict(
        self, network: Network, noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told, added: Added
    ) -> Tensor:
        """The UNet is told the metadata of the image to generate; without any, all are unknown."""
        return super().predict(network, noisy, timesteps, states, told, {**added, "metadata": told.get("metadata")})
