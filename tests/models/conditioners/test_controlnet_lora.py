"""ControlNets whose copied encoder is frozen: what is shared with the base, what is trained, damaged folders."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import Base, BaseError, load_base
from models.conditioners.controlnet_lora import freeze_copied, load_controlnet_lora, save_controlnet_lora
from models.denoiser import Denoiser
from models.families.family import NewControlNet
from tests.families import MICRO

LORA: dict[str, Any] = {"rank": 3, "alpha": 6, "targets": ["to_q", "to_out.0"], "seed": 0}


def lightened(base: Base) -> Denoiser:
    unet = base.load_unet()
    latents = base.family.key == "stable_diffusion_3"
    controlnet = base.family.new_controlnet(unet, NewControlNet(seed=0, vae_scale_factor=8, latents=latents))
    freeze_copied(controlnet, unet, **LORA)
    return Denoiser(base.family, unet, controlnet)


def test_the_copied_encoder_is_the_bases_own_memory(family_base: Path) -> None:
    """So nothing is frozen twice, and on another device neither."""
    denoiser = lightened(load_base(family_base))
    theirs = {id(weight) for weight in denoiser.unet.parameters()}
    mine = {name: id(weight) in theirs for name, weight in denoiser.controlnet.named_parameters(remove_duplicate=False)}
    trained = {name for name, weight in denoiser.controlnet.named_parameters() if weight.requires_grad}
    assert {name for name, shared in mine.items() if not shared} == trained
    assert {name.partition(".")[0] for name in trained if "lora_" not in name} <= {
        "controlnet_cond_embedding", "controlnet_down_blocks", "controlnet_mid_block", "metadata_embedding",
        "cond_metadata_embedding", "pos_embed_input", "controlnet_blocks",
    }  # fmt: skip
    moved = denoiser.to(torch.float64)  # as to another device
    assert {id(x) for x in moved.controlnet.parameters()} & {id(x) for x in moved.unet.parameters()}


def test_nothing_that_nobody_reads_is_trained(tmp_path: Path) -> None:
    """Of Stable Diffusion 3's last block: DDP would wait for its gradient."""
    base = load_base(MICRO["stable_diffusion_3"](tmp_path / "base"))
    unet = base.load_unet()
    controlnet = base.family.new_controlnet(unet, NewControlNet(seed=0, vae_scale_factor=8, latents=True))
    freeze_copied(controlnet, unet, **LORA | {"targets": ["to_add_out", "to_q"]})
    found = [name for name, weight in controlnet.named_parameters() if "to_add_out.lora" in name]
    assert found and all(name.startswith("transformer_blocks.0.") for name in found)
    with torch.no_grad():
        for weight in (weight for weight in controlnet.parameters() if weight.requires_grad):
            weight.add_(1.0)
    trained = {name: weight for name, weight in controlnet.named_parameters() if weight.requires_grad}
    save_controlnet_lora(tmp_path / "saved", controlnet, trained)
    again = dict(load_controlnet_lora(tmp_path / "saved", base.load_unet(), type_of(base)).named_parameters())
    assert all(torch.equal(again[name], weight) for name, weight in trained.items())


def type_of(base: Base) -> Any:
    return base.family.controlnet_class


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("adapter_config.json", {"r": 0}, "adapter_config.json.*r"),
        ("adapter_config.json", {"lora_alpha": "1e400"}, "adapter_config.json.*lora_alpha"),
        ("adapter_config.json", {"r": 2}, r"lora_A.* should be of shape \(2, .* and is of shape \(3, "),
        ("adapter_config.json", {"target_modules": ["to_q"]}, "should be missing, and is of shape"),
        ("config.json", {"conditioning_channels": 5}, "controlnet_cond_embedding.conv_in.weight should be of shape"),
        (
            "weights",
            "controlnet_mid_block.bias",
            r"controlnet_mid_block.bias should be of shape \(32,\), and is missing",
        ),
    ],
)
def test_a_folder_that_does_not_fit(tmp_path: Path, micro_base: Path, file: str, change: Any, said: str) -> None:
    base = load_base(micro_base)
    denoiser, folder = lightened(base), tmp_path / "saved"
    prefix = "controlnet."
    weights = {name.removeprefix(prefix): x.detach() for name, x in denoiser.trained().items()}
    save_controlnet_lora(folder, denoiser.controlnet, weights)
    if file == "weights":
        saved = load_file(folder / "adapter_model.safetensors")
        del saved[f"base_model.model.{change}"]
        save_file(saved, folder / "adapter_model.safetensors")
    else:
        (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    with pytest.raises(BaseError, match=said):
        load_controlnet_lora(folder, base.load_unet(), type_of(base))
