"""A T2I-Adapter (Mou et al. 2023): a small network turns the condition into features for the UNet's way down.

Its features do not depend on the timestep. Its folder is diffusers' own, for the pipelines with an adapter.
"""

from collections.abc import Sequence

import torch
from diffusers import T2IAdapter, UNet2DConditionModel
from torch import Tensor, nn

from models.errors import BaseError

LEVELS_XL = 3  # of the UNet of full_adapter_xl: two with attention after one without


def new_adapter(
    unet: UNet2DConditionModel, *, light: bool, conditioning_channels: int, vae_scale_factor: int, seed: int
) -> T2IAdapter:
    """An adapter in float32 for a UNet, with which step 0 equals the base.

    diffusers starts all weights at random. Here the first convolution and all biases are zero: what follows are sums,
    products with weights and ReLU, so that every feature is zero. That one layer learns at once from the features of
    all levels, the others as soon as it has moved.

    Args:
        unet: the frozen denoiser.
        light: of 19 instead of 77 million weights beside Stable Diffusion.
        conditioning_channels: of the pixels that it reads.
        vae_scale_factor: pixels per latent cell.
        seed: of the weights.

    Raises:
        BaseError: diffusers has no such adapter for the UNet's levels.
    """
    widths, kinds = list(unet.config.block_out_channels), [*unet.config.down_block_types]
    attends = [kind == "CrossAttnDownBlock2D" for kind in kinds]
    settings: dict[str, object] = {"adapter_type": "full_adapter", "channels": widths}
    if light:
        settings = {"adapter_type": "light_adapter", "channels": widths[:-1], "num_res_blocks": 4}
    if attends == [False, *[True] * (LEVELS_XL - 1)]:
        vae_scale_factor *= 2  # it begins behind the first level
        settings = {"adapter_type": "full_adapter_xl", "channels": [*widths, widths[-1]]}
        fits = not light
    else:
        fits = attends == [True] * (len(kinds) - 1) + [False] and (not light or widths[-1] == widths[-2:][0])
    if not fits:
        kind = "light T2I-Adapter" if light else "T2I-Adapter"
        raise BaseError(
            f"diffusers has no {kind} for a UNet of levels {', '.join(kinds)} with channels {widths}. Choose another "
            "for model.trained."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapter = T2IAdapter(in_channels=conditioning_channels, downscale_factor=vae_scale_factor, **settings).float()
    convolutions = [module for module in adapter.modules() if isinstance(module, nn.Conv2d)]
    nn.init.zeros_(next(x for x in convolutions if x.in_channels == conditioning_channels * vae_scale_factor**2).weight)
    for name, weight in adapter.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(weight)
    return adapter


def added_by(features: Sequence[Tensor], scale: float) -> dict[str, Tensor | list[Tensor]]:
    """What the features of an adapter add: arguments of the UNet."""
    return {"down_intrablock_additional_residuals": [feature * scale for feature in features]}
