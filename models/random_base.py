"""A base folder with random weights, from the config files of a real one: full size without a download."""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel


def write_random_base(configs: Path, out: Path, *, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """Build every network from its config and save it as a diffusers folder.

    Args:
        configs: folder with unet/, vae/, text_encoder/ (config.json each), tokenizer/ and scheduler/.
        out: the folder to write.
        dtype: of the saved weights.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    for part, network in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        network.from_config(network.load_config(configs / part)).to(dtype).save_pretrained(out / part)
    text_config = CLIPTextConfig.from_pretrained(configs / "text_encoder")
    CLIPTextModel(text_config).to(dtype).save_pretrained(out / "text_encoder")
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(configs / part, out / part)
    return out
