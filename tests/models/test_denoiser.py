"""At step 0 every way of training is the base; what is trained survives its folders and loads in stock diffusers."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from models import Base, controlnet_from_unet, load_base
from models.denoiser import PRE_CONV, ConcatenatedConv, Denoiser, concatenate_pre, widen_conv_in
from models.lora import add_lora
from models.trained import load_trained, save_trained

TARGETS = ["to_q", "to_out.0"]


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    noisy, states = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 77, 64, generator=generator)
    return noisy, torch.tensor([3, 900]), states, torch.rand(2, 3, 32, 32, generator=generator)


def denoiser_of(base: Base, trained: str, latents: bool = False) -> Denoiser:
    unet = base.load_unet()
    controlnet = (
        controlnet_from_unet(unet, vae_scale_factor=8, seed=0, latents=latents) if "control" in trained else None
    )
    if "lora" in trained:
        add_lora(unet, rank=3, alpha=6, targets=TARGETS, seed=0)
    if "concat" in trained:
        concatenate_pre(unet)
    return Denoiser(base.family, unet, controlnet)


def perturb(denoiser: Denoiser) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.trained().values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))


@pytest.mark.parametrize("trained", ["controlnet", "controlnet on latents", "lora", "controlnet+lora", "lora+concat"])
def test_step_zero_is_the_base_bit_for_bit(micro_base: Path, trained: str) -> None:
    base, (noisy, timesteps, states, pixels) = load_base(micro_base), inputs()
    denoiser = denoiser_of(base, trained, "latents" in trained)
    condition = noisy.flip(0) if "latents" in trained or "concat" in trained else pixels
    with torch.no_grad():
        plain = base.load_unet()(noisy, timesteps, states).sample
        assert torch.equal(denoiser(noisy, timesteps, states, condition), plain)
        perturb(denoiser)
        assert not torch.allclose(denoiser(noisy, timesteps, states, condition), plain, atol=1e-3)
        with denoiser.without_control():
            uncontrolled = denoiser(noisy, timesteps, states, condition)
            assert torch.equal(denoiser(noisy, timesteps, states, 0 * condition), uncontrolled)
            assert torch.equal(uncontrolled, plain) == ("lora" not in trained)  # a LoRA still has its say
        assert not torch.allclose(denoiser(noisy, timesteps, states, condition), plain, atol=1e-3)
    frozen = {name for name, weight in denoiser.named_parameters() if not weight.requires_grad}
    assert not any(name.startswith("controlnet") or "lora_" in name or name == PRE_CONV for name in frozen)
    assert len(frozen) == len(base.load_unet().state_dict())


@pytest.mark.parametrize("trained", ["controlnet", "lora", "controlnet+lora", "lora+concat"])
def test_weights_come_back_from_their_folders(tmp_path: Path, micro_base: Path, trained: str) -> None:
    denoiser = denoiser_of(load_base(micro_base), trained)
    perturb(denoiser)
    save_trained(tmp_path, denoiser, denoiser.trained())
    found, expected = load_trained(tmp_path), denoiser.trained()
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    folders = {"controlnet": {"controlnet"}, "lora": {"lora"}, "controlnet+lora": {"controlnet", "lora"}}
    assert {path.name for path in tmp_path.iterdir()} == folders.get(trained, {"lora", "conv_in"})


def test_lora_loads_in_stock_diffusers(tmp_path: Path, micro_base: Path) -> None:
    denoiser, (noisy, timesteps, states, pixels) = denoiser_of(load_base(micro_base), "lora"), inputs()
    perturb(denoiser)
    save_trained(tmp_path, denoiser, denoiser.trained())
    pipeline = StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None)
    pipeline.load_lora_weights(tmp_path / "lora")
    with torch.no_grad():
        stock = pipeline.unet(noisy, timesteps, states).sample
        ours = denoiser(noisy, timesteps, states, pixels)
    torch.testing.assert_close(stock, ours)  # alpha / rank = 2 is stored with it


def test_the_first_convolution_reads_pre_latents_too(micro_base: Path) -> None:
    """Of [noisy, pre], by the formula; trained weights are frozen."""
    unet = load_base(micro_base).load_unet()
    concatenate_pre(unet)
    pair = unet.conv_in
    assert isinstance(pair, ConcatenatedConv)
    generator = torch.Generator().manual_seed(2)
    pre = torch.randn(pair.pre.weight.shape, generator=generator)
    with torch.no_grad():
        pair.pre.weight.copy_(pre)
        both = torch.randn(2, 8, 4, 4, generator=generator)
        expected = pair.base(both[:, :4]) + torch.nn.functional.conv2d(both[:, 4:], pre, padding=1)
        torch.testing.assert_close(pair(both), expected)
        trained = load_base(micro_base).load_unet()
        concatenate_pre(trained, pre)
        assert torch.equal(trained.conv_in(both), pair(both))
        wide = load_base(micro_base).load_unet()
        widen_conv_in(wide, pre)  # for stock diffusers
        torch.testing.assert_close(wide.conv_in(both), expected, rtol=1e-4, atol=1e-5)
    assert wide.config.in_channels == 8
    assert not any(weight.requires_grad for weight in trained.parameters())


def test_bf16_casts_only_what_is_trained(micro_base: Path) -> None:
    """The frozen UNet lies in the compute type, trained weights stay float32, and so does the answer."""
    base, (noisy, timesteps, states, pixels) = load_base(micro_base), inputs()
    unet = base.load_unet(torch.bfloat16)
    controlnet = controlnet_from_unet(unet, vae_scale_factor=8, seed=0)
    add_lora(unet, rank=2, alpha=2, targets=TARGETS, seed=0)
    denoiser = Denoiser(base.family, unet, controlnet, compute_dtype=torch.bfloat16)
    assert {weight.dtype for weight in denoiser.trained().values()} == {torch.float32}
    predicted = denoiser(noisy, timesteps, states, pixels)
    assert predicted.dtype == torch.float32
    plain = base.load_unet()(noisy, timesteps, states).sample
    assert (predicted - plain).abs().max() < 0.1 * plain.abs().max()
