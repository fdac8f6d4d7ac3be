"""SDXL: a VAE that overflows in float16, zeros for no caption, and numbers of the place in UNet and ControlNet."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from models import load_base
from models.denoiser import Denoiser
from models.families.family import NewControlNet
from tests.families import write_sdxl


def test_its_vae_computes_in_float16_only_if_made_for_it(tmp_path: Path) -> None:
    """One whose activations pass 65,504 decodes to NaN in float16; here it stays finite."""
    folder = write_sdxl(tmp_path / "base")
    path = folder / "vae/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.weight"] *= 1e6
    save_file(weights, path, {"format": "pt"})
    latents = torch.ones(1, 4, 4, 4)
    half = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float16)
    loaded = load_base(folder).load_vae(torch.float16)
    with torch.no_grad():
        assert not half.decode(latents.half()).sample.isfinite().all()
        assert loaded.dtype == torch.float32 and loaded.decode(latents).sample.isfinite().all()
    assert load_base(folder).load_vae(torch.bfloat16).dtype == torch.bfloat16  # which reaches as far as float32
    config = folder / "vae/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": False}))
    assert load_base(folder).load_vae(torch.float16).dtype == torch.float16


@pytest.mark.parametrize("zeros", [True, False])
def test_no_caption_is_zeros_if_the_index_says_so(tmp_path: Path, zeros: bool) -> None:
    folder = write_sdxl(tmp_path / "base")
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"force_zeros_for_empty_prompt": zeros}))
    base = load_base(folder)
    found = base.encode(base.load_text_encoder(), base.tokenize(["a town", "", "a flood"], chunks=2))
    assert found["states"].shape == (3, 154, 64) and found["pooled"].shape == (3, 20)
    for states in found.values():
        assert states[0].any() and states[2].any() and bool(states[1].any()) != zeros


def test_every_number_of_the_place_reaches_both_networks(tmp_path: Path) -> None:
    base = load_base(write_sdxl(tmp_path / "base"))
    network = base.load_unet()
    controlnet = base.family.new_controlnet(network, NewControlNet(seed=0, vae_scale_factor=8))
    with torch.no_grad():
        controlnet.controlnet_mid_block.bias.fill_(1.0)
        controlnet.controlnet_mid_block.weight.fill_(0.1)
        generator = torch.Generator().manual_seed(0)
        noisy, condition = torch.randn(1, 4, 4, 4, generator=generator), torch.rand(1, 3, 32, 32, generator=generator)
        told = base.encode(base.load_text_encoder(), base.tokenize(["a town"]))
        states, place = told.pop("states"), [1024.0, 1000.0, 512.0, 256.0, 320.0, 352.0]

        def made(numbers: list[float], denoiser: Denoiser) -> torch.Tensor:
            placed = base.family.placed(torch.tensor([numbers]))
            found: torch.Tensor = denoiser(noisy, torch.tensor([500]), states, condition, **told, **placed)
            return found

        for denoiser in (Denoiser(base.family, network), Denoiser(base.family, network, controlnet)):
            plain = made(place, denoiser)
            for number in range(6):
                other = [value + 64 * (number == at) for at, value in enumerate(place)]
                assert not torch.equal(made(other, denoiser), plain)
        seen = []
        controlnet.add_embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        network.add_embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        made(place, denoiser)
    assert len(seen) == 2 and torch.equal(seen[0], seen[1])  # told the same
