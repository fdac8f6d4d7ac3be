"""The networks of a run, built from its config."""

import importlib
from typing import Any

import torch
from diffusers import ModelMixin
from torch import nn

from data.examples.condition import CONDITIONS
from models import BaseError
from models.base import Base
from models.conditioners.controlnet_lora import freeze_copied
from models.conditioners.few_bits import LEAST_SHARE, linear_share, use_few_bits
from models.conditioners.t2i_adapter import new_adapter
from models.cpu.layers import use_cpu_layers
from models.cpu.precision import DTYPES, compute_type
from models.denoiser import Denoiser, concatenate_pre, has_lora
from models.families.family import NewControlNet
from models.families.noise import Diffusion, Noise
from models.lora import add_lora
from train.config import Config, ModelConfig, TrainConfig
from train.errors import ConfigError
from train.inputs.metadata import uses_metadata

OF_A_CONTROLNET = ("condition", "controlnet", "controlnet_blocks")  # settings of model


def check_base(config: Config, base: Base) -> None:
    """Check what the base's family can do; nothing of the base but config files has been read.

    Raises:
        ConfigError: naming every setting that its family cannot take.
    """
    unit = base.vae_scale_factor * int(base.config(base.family.network).get("patch_size") or 1)
    unit *= 1 + config.model.trained.startswith("t2i-adapter")  # whose pixels are shuffled by 16 for SDXL
    sides = {"data.resolution": config.data.resolution}
    sides |= {f"train.curriculum[{n}].resolution": stage.resolution for n, stage in enumerate(config.train.curriculum)}
    problems = [
        f"{name} is {side}; {base.name} needs a multiple of {unit}."
        for name, side in sides.items()
        if side and side % unit
    ]
    for setting, (values, why) in base.family.only.items():
        group, name = setting.split(".")
        value = getattr(getattr(config, group), name)
        absent = name in OF_A_CONTROLNET and "controlnet" not in config.model.trained
        if value not in values and not absent:
            fitting = " or ".join("null" if one is None else str(one).lower() for one in values)
            problems.append(
                f"{setting} is {value}, but with {base.name} ({base.family.name}) it must be {fitting}: {why}."
            )
    if config.model.base_bits and (share := linear_share(base.empty_unet())) < LEAST_SHARE:
        problems.append(
            f"model.base_bits is {config.model.base_bits}, but only {share:.0%} of the weights of {base.name} are in "
            "linear layers of some size: nothing is won. Omit it."
        )
    if problems:
        raise ConfigError("\n".join(problems))


def noise_schedule(base: Base, zero_terminal_snr: bool) -> Noise:
    """The base's forward process, rescaled to zero terminal SNR on request (Lin et al. 2024, algorithm 1).

    Raises:
        ConfigError: the base predicts the noise, which at zero SNR says nothing about the image.
    """
    schedule = base.load_noise_schedule()
    if not zero_terminal_snr:
        return schedule
    if not isinstance(schedule, Diffusion) or schedule.predicts == "epsilon":
        raise ConfigError(
            f"objective.zero_terminal_snr is true, but {base.name} predicts the noise (epsilon), which says nothing "
            "about the image at zero SNR. Set it to false, or use a base with v-prediction."
        )
    return schedule.rescaled()


def build_denoiser(base: Base, model: ModelConfig, precision: str, seed: int, device: torch.device) -> Denoiser:
    """The frozen UNet in the compute type, and the trained weights in float32; at step 0 its output is the base's."""
    unet = base.load_unet(DTYPES[precision])
    controlnet = _with_trained(base, unet, model, seed)
    use_few_bits(model.base_bits, unet, controlnet)
    compute_dtype = DTYPES[precision] if model.compile else compute_type(precision, device)
    denoiser = Denoiser(base.family, unet, controlnet, compute_dtype=compute_dtype).to(device)
    for network in (unet, controlnet):
        if network is not None:
            _speed_up(network, model)
            if device.type == "cpu" and not model.compile:
                stored = DTYPES[precision] if network is unet or has_lora(network) else torch.float32
                use_cpu_layers(network, stored=stored, computed=compute_dtype)
    if model.gradient_checkpointing and controlnet is not None:
        controlnet.enable_gradient_checkpointing()
    if model.base_checkpointing:
        unet.enable_gradient_checkpointing()
    return denoiser


def meta_denoiser(base: Base, model: ModelConfig) -> Denoiser:
    """The same on the meta device, in float32: shapes without values.

    Raises:
        ConfigError: the base cannot be trained so.
    """
    unet = base.empty_unet()
    with torch.device("meta"):
        controlnet = _with_trained(base, unet, model, seed=0)
        use_few_bits(model.base_bits, unet, controlnet)
        return Denoiser(base.family, unet, controlnet)


def _with_trained(base: Base, unet: Any, model: ModelConfig, seed: int) -> Any:  # noqa: ANN401 (of the family's classes)
    """Add what is trained within the base's network to it; a new ControlNet or T2I-Adapter, if one is trained."""
    parts = model.trained.split("+")
    controlnet = None if parts[0] == "lora" else _controlnet(base, unet, model, seed)
    lora: dict[str, Any] = {"rank": model.lora_rank, "alpha": model.lora_alpha, "targets": model.lora_targets}
    try:
        if "controlnet-lora" in parts:
            freeze_copied(controlnet, unet, **lora, seed=seed)
        if "lora" in parts:
            add_lora(unet, **lora, seed=seed)
    except ValueError as error:
        raise ConfigError(f"model.lora_targets is {model.lora_targets}: {error}") from error
    if "concat" in parts:
        concatenate_pre(unet)
    return controlnet


def _controlnet(base: Base, unet: Any, model: ModelConfig, seed: int) -> Any:  # noqa: ANN401 (of the family's classes)
    """A new ControlNet or T2I-Adapter, in float32."""
    condition = CONDITIONS[model.condition]
    shown: dict[str, Any] = {"seed": seed, "vae_scale_factor": base.vae_scale_factor}
    shown |= {"conditioning_channels": condition.channels}
    asked = NewControlNet(
        **shown,
        kind=model.controlnet,
        latents=condition.latents,
        metadata=uses_metadata(model, base),
        null_metadata=model.null_metadata,
        blocks=model.controlnet_blocks,
    )
    try:
        if model.trained.startswith("t2i-adapter"):
            return new_adapter(unet, **shown, light=model.trained.endswith("light")).train()
        return base.family.new_controlnet(unet, asked).train()
    except BaseError as error:
        raise ConfigError(f"{error} (model.base is {base.name})") from error


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
