"""Networks: the frozen base and what is trained beside it. Knows nothing of xBD files."""

from models.base import Base, BaseError, load_base
from models.controlnet import controlnet_from_unet, load_controlnet

__all__ = ["Base", "BaseError", "controlnet_from_unet", "load_base", "load_controlnet"]
