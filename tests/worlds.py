"""Tiny worlds for the tests: a random base of the real kind and format, a few kilobytes large."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn

from models.frozen import frozen
from models.tiny_networks import tiny_noise_schedule, tiny_text_encoder, tiny_tokenizer

REPOSITORY = Path(__file__).parents[1]


def micro_vae(**settings: Any) -> AutoencoderKL:
    """Of 32 px images, 4 x 4 latents."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=32,
        **settings,
    )


def write_micro_base(folder: Path, seed: int = 0, channels: Sequence[int] = (16, 32)) -> Path:
    """A Stable Diffusion folder of random weights: 32 px images, 4 x 4 x 4 latents, prediction type v."""
    torch.manual_seed(seed)
    tokenizer = tiny_tokenizer(["a satellite image of a town after a flood"])
    vae = micro_vae()
    unet = UNet2DConditionModel(
        sample_size=4,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        down_block_types=(*["CrossAttnDownBlock2D"] * (len(channels) - 1), "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * (len(channels) - 1)),
        cross_attention_dim=64,
        attention_head_dim=2,
        norm_num_groups=8,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=tiny_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=tiny_noise_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def unmapped(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """A stock pipeline with weights in memory of their own, as ours have: products round otherwise in a memory map."""
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            frozen(part)
    return pipeline
