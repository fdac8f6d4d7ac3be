"""Networks: the frozen base and what is trained alongside it. Knows nothing of xBD files."""

import models.libraries  # noqa: F401 (before anything imports diffusers)
from models.base import Base, load_base
from models.controlnet import controlnet_from_unet, load_controlnet
from models.diffusionsat.metadata import MetadataError
from models.errors import BaseError

__all__ = ["Base", "BaseError", "MetadataError", "controlnet_from_unet", "load_base", "load_controlnet"]
