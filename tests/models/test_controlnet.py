"""The ControlNet at step 0, and bases that cannot be used."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel

from models import BaseError, controlnet_from_unet, load_base


def test_step_zero_leaves_the_prediction_bit_identical(micro_base: Path) -> None:
    unet = load_base(micro_base).load_unet()
    controlnet = controlnet_from_unet(unet, vae_scale_factor=8, seed=0)
    generator = torch.Generator().manual_seed(0)
    noisy, states = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 77, 64, generator=generator)
    pre, timesteps = torch.rand(2, 3, 32, 32, generator=generator), torch.tensor([3, 900])
    with torch.no_grad():
        down, mid = controlnet(noisy, timesteps, states, controlnet_cond=pre, return_dict=False)
        controlled = unet(
            noisy, timesteps, states, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        plain = unet(noisy, timesteps, states).sample
    assert torch.equal(controlled, plain)


def test_fresh_weights_depend_on_the_seed_alone(micro_base: Path) -> None:
    unet = load_base(micro_base).load_unet()
    torch.manual_seed(1)
    one = controlnet_from_unet(unet, vae_scale_factor=8, seed=0).state_dict()
    torch.manual_seed(2)
    same = controlnet_from_unet(unet, vae_scale_factor=8, seed=0).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)


@pytest.mark.parametrize(("factor", "stages"), [(4, 3), (8, 4)])
def test_the_condition_shrinks_as_much_as_the_vae(micro_base: Path, factor: int, stages: int) -> None:
    controlnet = controlnet_from_unet(load_base(micro_base).load_unet(), vae_scale_factor=factor, seed=0)
    assert isinstance(controlnet, ControlNetModel)
    assert len(controlnet.config.conditioning_embedding_out_channels) == stages
    embedded = controlnet.controlnet_cond_embedding(torch.zeros(1, 3, 32, 32))
    assert embedded.shape[-1] == 32 // factor


def test_the_base_tells_its_own_numbers(micro_base: Path) -> None:
    base = load_base(micro_base)
    assert (base.resolution, base.vae_scale_factor) == (32, 8)
    assert base.load_noise_schedule().predicts == "v_prediction"
    assert not any(weight.requires_grad for weight in base.load_unet().parameters())


def test_an_incomplete_base_names_what_is_missing(tmp_path: Path, micro_base: Path) -> None:
    broken = shutil.copytree(micro_base, tmp_path / "broken")
    shutil.rmtree(broken / "vae")
    with pytest.raises(BaseError, match=r"lacks vae/"):
        load_base(broken)


def test_a_base_without_weights_names_the_folder(tmp_path: Path, micro_base: Path) -> None:
    broken = shutil.copytree(micro_base, tmp_path / "broken")
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BaseError, match=r"unet: no \.safetensors weights"):
        load_base(broken)
    (broken / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BaseError, match=r"nothing is unpickled.*pre2post convert --source"):
        load_base(broken)


def test_an_unknown_base_says_so() -> None:
    with pytest.raises(BaseError, match="neither a folder here nor a base"):
        load_base("nobody/nothing")
