"""Weights as others saved them: the one place where a pickle is opened, and only for the tensors in it."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.base import BaseError

# In order of trust; the names of diffusers and of transformers.
NAMES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The state dict in a part's folder, on the CPU.

    Raises:
        BaseError: there is none, it is damaged, or its pickle holds anything but tensors.
    """
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        raise BaseError(f"{folder}: no weights. Expected one of {', '.join(NAMES)}. Copy the whole folder again.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).partition("Please file an issue")[0].strip()
        raise BaseError(
            f"{path}: refused. Its pickle holds more than tensors, or is damaged, and opening it could run any program "
            f"({reason}). Get the file from a source you trust, as .safetensors if there is one."
        ) from None
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise BaseError(f"{path}: cannot be read ({error}). Copy it again; it may be cut off.") from error
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise BaseError(f"{path}: not a plain state dict of tensors. Save the network's own state_dict().")
    # Views of one storage would be saved as often as they are seen.
    return {name: tensor.clone().contiguous() for name, tensor in weights.items()}
