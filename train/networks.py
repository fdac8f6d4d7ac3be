"""The networks of a run, built from its config."""

import importlib
from typing import Any

import torch
from diffusers import ControlNetModel, DDPMScheduler, ModelMixin, UNet2DConditionModel
from torch import nn

from data.examples.condition import CONDITIONS
from models.base import Base
from models.controlnet import controlnet_from_unet
from models.cpu.layers import use_cpu_layers
from models.denoiser import Denoiser, concatenate_pre
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.lora import add_lora
from train.config import ModelConfig, TrainConfig
from train.errors import ConfigError
from train.inputs.metadata import uses_metadata

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def noise_schedule(base: Base, zero_terminal_snr: bool) -> DDPMScheduler:
    """The base's forward process, rescaled to zero terminal SNR on request (Lin et al. 2024, algorithm 1).

    Raises:
        ConfigError: the base predicts the noise, which at zero SNR says nothing about the image.
    """
    schedule = base.load_noise_schedule()
    if not zero_terminal_snr:
        return schedule
    if schedule.config.prediction_type == "epsilon":
        raise ConfigError(
            f"objective.zero_terminal_snr is true, but {base.name} predicts the noise (epsilon), which says nothing "
            "about the image at zero SNR. Set it to false, or use a base with v-prediction."
        )
    return DDPMScheduler.from_config(schedule.config, rescale_betas_zero_snr=True)


def build_denoiser(base: Base, model: ModelConfig, precision: str, seed: int, device: torch.device) -> Denoiser:
    """The frozen UNet in the compute type, and the trained weights in float32; at step 0 its output is the base's."""
    unet = base.load_unet(DTYPES[precision])
    controlnet = None
    if "controlnet" in model.trained:
        controlnet = _controlnet(base, unet, model, seed)
    if "lora" in model.trained:
        try:
            add_lora(unet, rank=model.lora_rank, alpha=model.lora_alpha, targets=model.lora_targets, seed=seed)
        except ValueError as error:
            raise ConfigError(f"model.lora_targets is {model.lora_targets}: {error}") from error
    if "concat" in model.trained:
        concatenate_pre(unet)
    compute_dtype = DTYPES[precision] if model.compile else compute_type(precision, device)
    denoiser = Denoiser(unet, controlnet, compute_dtype=compute_dtype).to(device)
    for network in (unet, controlnet):
        if network is not None:
            _speed_up(network, model)
            if device.type == "cpu" and not model.compile:
                stored = DTYPES[precision] if network is unet else torch.float32
                use_cpu_layers(network, stored=stored, computed=compute_dtype)
    if model.gradient_checkpointing and controlnet is not None:
        controlnet.enable_gradient_checkpointing()
    if model.base_checkpointing:
        unet.enable_gradient_checkpointing()
    return denoiser


def _controlnet(base: Base, unet: UNet2DConditionModel, model: ModelConfig, seed: int) -> ControlNetModel:
    """A new ControlNet, in float32."""
    condition, conditioned = CONDITIONS[model.condition], uses_metadata(model, base)
    attention = model.controlnet == "3d+attention"
    kind: type[ControlNetModel] = SatControlNet if conditioned else ControlNetModel
    settings: dict[str, Any] = {"null_metadata": model.null_metadata} if conditioned else {}
    if model.controlnet != "2d":
        kind = SatControlNet3D
        settings |= {"use_metadata": conditioned, "use_temporal_transformer": attention}
    if attention and (width := unet.config.block_out_channels[0]) % 32:
        raise ConfigError(
            f"model.controlnet is 3d+attention, whose attention needs 32 groups of channels; {base.name} starts "
            f"with {width}. Choose 3d, or a base with a multiple of 32."
        )
    return controlnet_from_unet(
        unet,
        vae_scale_factor=base.vae_scale_factor,
        seed=seed,
        kind=kind,
        latents=condition.latents,
        conditioning_channels=condition.channels,
        **settings,
    ).train()


def compute_type(precision: str, device: torch.device) -> torch.dtype:
    """The type for matrix products.

    CPUs without bfloat16 units multiply it several times slower than float32: there `bf16` only stores the frozen
    weights in it.
    """
    if precision == "bf16" and device.type == "cpu" and not bfloat16_units():
        return torch.float32
    return DTYPES[precision]


def bfloat16_units() -> bool:
    """Whether this CPU multiplies bfloat16 natively (AVX-512 BF16, AMX, or ARM's)."""
    # Older releases of PyTorch cannot report it.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def optimizer_of(weights: list[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """AdamW: PyTorch's fused one, or bitsandbytes' with moments in 8 bits."""
    if train.optimizer == "adamw8bit":
        adamw = importlib.import_module("bitsandbytes").optim.AdamW8bit
        for weight in weights:  # as in its first step; moments created before that would have another memory order
            weight.data = weight.data.contiguous()
        eight_bit: torch.optim.Optimizer = adamw(weights, lr=train.learning_rate, weight_decay=train.weight_decay)
        return eight_bit
    return torch.optim.AdamW(weights, lr=train.learning_rate, weight_decay=train.weight_decay, fused=True)


def _speed_up(network: ModelMixin, model: ModelConfig) -> None:
    if model.attention == "xformers":
        network.enable_xformers_memory_efficient_attention()
    if model.channels_last:
        # Not by network.to, which fails on the 5-D weights of 3D convolutions.
        for weight in network.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.to(memory_format=torch.channels_last)
    if model.compile:
        network.compile()
