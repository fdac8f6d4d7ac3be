"""Lower bound on the time of a step: its matrix products over this machine's matmul rate."""

import time

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel

from models.base import Base
from models.controlnet import controlnet_from_unet


def step_flops(base: Base, *, resolution: int, batch: int) -> dict[str, int]:
    """Floating point operations of a step, counted by PyTorch on meta tensors.

    Args:
        base: only its config files are read.
        resolution: px.
        batch: examples.

    Returns:
        `needed`: forward and backward of UNet and ControlNet (the frozen UNet without gradients of its weights, and
        without any gradient above the ControlNet's first residual); `encoders`: VAE and text encoder, which a cache
        saves.
    """
    side = resolution // base.vae_scale_factor
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(base.config("unet")).requires_grad_(False)
        vae = AutoencoderKL.from_config(base.config("vae")).requires_grad_(False)
        text_config = CLIPTextConfig.from_pretrained(base.folder / "text_encoder")
        text_encoder = CLIPTextModel(text_config).requires_grad_(False)
        controlnet = controlnet_from_unet(unet, vae_scale_factor=base.vae_scale_factor, seed=0).train()
        noisy = torch.empty(batch, unet.config.in_channels, side, side)
        pixels = torch.empty(batch, 3, resolution, resolution)
        token_ids = torch.empty(batch, 77, dtype=torch.int64)
        timesteps = torch.empty(batch, dtype=torch.int64)
        states = torch.empty(batch, 77, unet.config.cross_attention_dim)
    with FlopCounterMode(display=False) as needed:
        down, mid = controlnet(noisy, timesteps, states, controlnet_cond=pixels, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        F.mse_loss(unet(noisy, timesteps, states, **residuals).sample, noisy).backward()
    with FlopCounterMode(display=False) as encoders, torch.no_grad():
        vae.encode(pixels)
        text_encoder(token_ids)
    return {"needed": needed.get_total_flops(), "encoders": encoders.get_total_flops()}


def matmul_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of a large matrix product, the best within two seconds."""
    side = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = [_seconds(a, b)]  # a CPU without bfloat16 units may need half a minute for one
    while sum(times) < 2:
        times.append(_seconds(a, b))
    return 2 * side**3 / min(times)


def _seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.device.type != "cuda":
        started = time.perf_counter()
        torch.mm(a, b)
        return time.perf_counter() - started
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    torch.mm(a, b)
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3
