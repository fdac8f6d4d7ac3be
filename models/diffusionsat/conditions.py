"""Conditioning images of a metadata ControlNet: any form to one tensor of the required size."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class ConditionError(ValueError):
    """A conditioning image that the ControlNet cannot use; the message names what was expected."""


def condition_tensor(images: Any, *, channels: int, size: tuple[int, int], sequence: bool) -> Tensor:  # noqa: ANN401
    """Conditioning images as a tensor.

    Args:
        images: a PIL image; a list of them, one per prompt; a list of lists, several per prompt; or a final
            tensor. PIL images are resized (Lanczos), tensors are used unchanged.
        channels: of one prompt's condition; of one image of the sequence if `sequence`.
        size: (width, height) required by the network, px.
        sequence: the network is 3D: the images of a prompt are stacked along T, not concatenated on the channels.

    Returns:
        (prompts, channels, H, W), or (prompts, channels, T, H, W) if `sequence`; float32 in [0, 1].

    Raises:
        ConditionError: another number of channels, another size, values outside [0, 1], unequal sequences.
    """
    tensor = images.float() if isinstance(images, Tensor) else _from_pil(images, size, sequence)
    expected = f"(N, {channels}, {'T, ' if sequence else ''}{size[1]}, {size[0]})"
    if tensor.ndim != 4 + sequence or tensor.shape[1] != channels or tensor.shape[-2:] != (size[1], size[0]):
        raise ConditionError(f"the conditioning images have shape {tuple(tensor.shape)}. Expected {expected}.")
    if tensor.min() < 0 or tensor.max() > 1:
        raise ConditionError(
            f"the conditioning images range from {tensor.min():g} to {tensor.max():g}. Expected [0, 1]: not 0..255, "
            "nor -1..1 as for the VAE."
        )
    return tensor


def _from_pil(images: Any, size: tuple[int, int], sequence: bool) -> Tensor:  # noqa: ANN401
    per_prompt = images if isinstance(images, list) else [images]
    stacks = [
        torch.stack([_pixels(image, size) for image in (prompt if isinstance(prompt, list) else [prompt])])
        for prompt in per_prompt
    ]  # each (K, 3, H, W)
    if len({len(stack) for stack in stacks}) > 1:
        raise ConditionError("the prompts have unequal numbers of conditioning images. Pass equally many for each.")
    tensor = torch.stack(stacks)
    return tensor.transpose(1, 2) if sequence else tensor.flatten(1, 2)


def _pixels(image: Image.Image, size: tuple[int, int]) -> Tensor:
    resized = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS))
    return torch.from_numpy(resized.copy()).permute(2, 0, 1).float() / 255
