"""The zero-convolution ControlNet that reads the pre-event image: a new one, and one from a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from models.base_config import read_json
from models.diffusionsat.kind import controlnet_class
from models.frozen import frozen
from models.weight_files import check_fit, unfit

# Widths of the conditioning embedding for Stable Diffusion (ControlNet, section 3.3); narrower bases get no wider ones.
CONDITIONING_CHANNELS = (16, 32, 96, 256)


def controlnet_from_unet(
    unet: UNet2DConditionModel,
    *,
    vae_scale_factor: int,
    seed: int,
    kind: type[ControlNetModel] = ControlNetModel,
    latents: bool = False,
    conditioning_channels: int = 3,
    **settings: Any,  # noqa: ANN401 (arguments of `kind`)
) -> ControlNetModel:
    """Copy the UNet's encoder; zero convolutions make step 0 equal to the base (ControlNet, section 3.1).

    Args:
        unet: the frozen denoiser.
        vae_scale_factor: pixels per latent cell; the conditioning embedding downsamples as much as the VAE.
        seed: of the fresh weights, those of the conditioning embedding above all.
        kind: diffusers' ControlNetModel, or SatControlNet or SatControlNet3D, which are conditioned on metadata.
        latents: the condition is latents: one convolution and the zero-initialised one, without downsampling.
        conditioning_channels: of the condition; with `latents`, of the pixels that they are made of and of a mask.
        settings: further arguments of its `from_unet`.
    """
    stages = vae_scale_factor.bit_length()  # one width at full resolution, one more for each halving
    widths = [min(width, unet.config.block_out_channels[0]) for width in CONDITIONING_CHANNELS[:stages]]
    if latents:
        widths, conditioning_channels = widths[-1:], unet.config.in_channels + conditioning_channels - 3
    settings |= {"conditioning_channels": conditioning_channels, "conditioning_embedding_out_channels": tuple(widths)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.from_unet(unet, **settings).float()


def load_controlnet(
    folder: Path, dtype: torch.dtype = torch.float32, class_of: Callable[[Path], Any] = controlnet_class
) -> Any:  # noqa: ANN401 (of that class)
    """Load a plain diffusers ControlNet folder, frozen.

    Args:
        folder: of the ControlNet.
        dtype: of its weights.
        class_of: finds its class, see `Family.controlnet_class`.

    Raises:
        BaseError: its config.json is invalid, or its weights are truncated or do not match it.
    """
    kind, config = class_of(folder), read_json(folder / "config.json")
    check_fit(folder, lambda: kind.from_config(config))  # diffusers would initialise what is missing at random
    try:
        return frozen(kind.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True))
    except Exception as error:  # as in `check_fit`
        raise unfit(folder, error) from error
