"""A folder as DiffusionSat's were released, with tiny random networks: pickled weights, old names, old configs."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import nn

from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.unet import SatUNet
from models.tiny_networks import tiny_text_encoder, tiny_tokenizer

UNET = {
    "act_fn": "silu",
    "attention_head_dim": [2, 4],
    "block_out_channels": [32, 32],
    "cross_attention_dim": 64,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "in_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "num_metadata": 7,
    "use_linear_projection": True,
    "use_metadata": True,
}
UNET_ONLY = {
    "out_channels": 4,
    "sample_size": 12,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "dual_cross_attention": False,
}
CONTROLNET_ONLY = {"conditioning_embedding_out_channels": [4, 4, 8, 8], "conditioning_in_channels": 3}
EMA = {"decay": 0.9999, "inv_gamma": 1.0, "optimization_step": 9000, "use_ema_warmup": False}
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.17.0.dev0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
# diffusers 0.17 -> today, in the attention of the VAE
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def write_release(root: Path, *, controlnets: int = 0, three: bool = False) -> Path:
    """Write the folder; several ControlNets get the names that the old library gave them."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(["a satellite image of a harbour"])
    tokenizer.save_pretrained(root / "tokenizer")
    write_json(root / "scheduler/scheduler_config.json", SCHEDULER)
    write_json(root / "model_index.json", {"_class_name": "StableDiffusionPipeline", "unet": [None, "SatUNet"]})
    text_encoder = tiny_text_encoder(tokenizer)
    pickled(root / "text_encoder", text_encoder, text_encoder.config.to_dict(), torch.float16, "pytorch_model.bin")
    vae = vae_with_attention()
    pickled(root / "vae", vae, dict(vae.config) | {"_class_name": "AutoencoderKL"}, torch.float16)
    config = {"_class_name": "SatUNet", "_diffusers_version": "0.17.0.dev0", **UNET, **UNET_ONLY}
    pickled(root / "unet", random_weights(SatUNet.from_config(config)), config, torch.float16)
    ema = random_weights(SatUNet.from_config(config), seed=5)
    pickled(root / "checkpoint-150000/unet_ema", ema, config | EMA, torch.float32)
    name = "controlnet"
    for number in range(controlnets):
        name += f"_{number}" if number else ""
        kind: Any = SatControlNet3D if three else SatControlNet
        extra = {"use_temporal_transformer": True} if three else {"conditioning_scale": 1}
        config = {"_class_name": kind.__name__.replace("Sat", "") + "Model", **UNET, **CONTROLNET_ONLY, **extra}
        pickled(root / name, random_weights(kind.from_config(config), seed=number), config, torch.float32)
    return root


def vae_with_attention() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=32,
    )


def random_weights(network: Any, seed: int = 0) -> Any:
    """Every weight random, zero convolutions too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return network


def pickled(
    folder: Path,
    network: nn.Module,
    config: dict[str, Any],
    dtype: torch.dtype,
    name: str = "diffusion_pytorch_model.bin",
) -> None:
    """Save as the old library did."""
    weights = {old_name(key): value.to(dtype) for key, value in network.state_dict().items()}
    if name == "pytorch_model.bin":
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    write_json(folder / "config.json", config)
    torch.save(weights, folder / name)


def old_name(key: str) -> str:
    if ".mid_block.attentions." in key and key.startswith(("encoder", "decoder")):
        for today, old in OLD_ATTENTION.items():
            key = key.replace(f".{today}.", f".{old}.")
    return key


def write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
