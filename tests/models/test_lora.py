"""A LoRA means the same to every tool that reads it."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from models import load_base
from models.families.stable_diffusion import StableDiffusion
from models.lora import FILE, KOHYA, add_lora, load_lora, save_lora

RANK, ALPHA = 4, 6  # a factor of 1.5: who takes alpha for the rank is wrong
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "time_emb_proj"]


@pytest.fixture(scope="module")
def folder(micro_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unet = load_base(micro_base).load_unet()
    add_lora(unet, rank=RANK, alpha=ALPHA, targets=TARGETS, seed=0)
    trained = {name: torch.randn_like(weight) for name, weight in unet.named_parameters() if "lora_" in name}
    folder = tmp_path_factory.mktemp("lora")
    save_lora(folder, StableDiffusion(), unet, trained)
    again = load_lora(folder)
    assert again.keys() == trained.keys() and all(torch.equal(again[name], trained[name]) for name in trained)
    return folder


def by_hand(plain: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """W + alpha / rank B A of the layers, by the formula of kohya's scripts, from the file's tensors alone."""
    file = load_file(folder / KOHYA)
    names = {f"lora_unet_{name.removesuffix('.weight').replace('.', '_')}": name for name in plain}
    merged = {}
    for layer in (name.removesuffix(".alpha") for name in file if name.endswith(".alpha")):
        down, up, alpha = (file[f"{layer}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
        weight = plain[names[layer]]
        merged[names[layer]] = weight + alpha / len(down) * (up.flatten(1) @ down.flatten(1)).view_as(weight)
    return merged


@pytest.mark.parametrize("weight_name", [None, FILE, KOHYA])
def test_alpha_stands_where_each_tool_looks_for_it(micro_base: Path, folder: Path, weight_name: str | None) -> None:
    """diffusers makes the same network of the folder, of its file, and of the one for other tools."""
    plain = load_base(micro_base).load_unet().state_dict()
    stock = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    stock.load_lora_weights(folder, weight_name=weight_name)
    stock.fuse_lora()
    merged = {name.replace(".base_layer", ""): weight for name, weight in stock.unet.state_dict().items()}
    right = by_hand(plain, folder)
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in right} == {
        name.rpartition(".")[2] for name in TARGETS
    }
    for name, weight in right.items():
        torch.testing.assert_close(merged[name], weight)
        assert not torch.allclose(weight, plain[name])
