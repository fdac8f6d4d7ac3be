"""Which ControlNet a folder contains: diffusers' own, or one of DiffusionSat's."""

from pathlib import Path

from diffusers import ControlNetModel

from models.base_config import read_json
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D


def controlnet_class(folder: Path) -> type[ControlNetModel]:
    """The class that a folder's config.json describes. DiffusionSat's 2D one is also named ControlNetModel there."""
    config = read_json(Path(folder) / "config.json")
    kind: type[ControlNetModel] = ControlNetModel
    if "use_metadata" in config:
        kind = SatControlNet3D if "use_temporal_transformer" in config else SatControlNet
    return kind
