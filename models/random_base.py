"""A base folder with random weights, from the config files of a real one: full size without a download."""

import shutil
from pathlib import Path

import torch

from models.base import Base


def write_random_base(configs: Path, out: Path, *, dtype: torch.dtype = torch.float16, seed: int = 0) -> Path:
    """Build every network from its config and save it as a diffusers folder; one is in memory at a time.

    Args:
        configs: folder of a base of any family, without its weights: config files and tokenizers.
        out: the folder to write.
        dtype: of the weights; they are also drawn in it.
        seed: of the weights.
    """
    base, usual = Base(str(configs), configs), torch.get_default_dtype()
    torch.manual_seed(seed)
    for part in base.weighted_parts:
        torch.set_default_dtype(dtype)
        try:
            network = base.build(part)
        finally:
            torch.set_default_dtype(usual)
        network.to(dtype).save_pretrained(out / part)
        del network
    for folder in configs.iterdir():
        if folder.name.startswith(("tokenizer", "scheduler")):
            shutil.copytree(folder, out / folder.name)
    return out
