"""The base as a plain diffusers folder in float16, with its README, its measurements and pictures made from captions."""

import json
import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from train.run_folder import read_metrics
from train.tiny.quality import write_sheet

Networks = tuple[AutoencoderKL, CLIPTextModel, CLIPTokenizer, UNet2DConditionModel, DDIMScheduler]
SAMPLING_STEPS, GUIDANCE, AT_ONCE = 25, 2.0, 2
README = """# The tiny base

A latent-diffusion model of {megabytes:.1f} MB in the diffusers folder format, trained from nothing on simulated pre-
and post-disaster images (`pre2post simulate`) and their captions. It is for demos, tests and first looks, not for
research results. Made by

    python -m train.tiny --config configs/tiny_base.yaml

and measured on held-out simulated scenes by the same command:

| what | value |
|---|---|
| autoencoder: steps, images seen | {vae_steps:,}, {vae_samples:,} |
| PSNR of the reconstruction, pooled over all pixels | {psnr:.2f} dB |
| sharpness of the reconstruction (1 = as sharp as the image) | {sharpness:.3f} |
| UNet and text encoder: steps, images seen | {unet_steps:,}, {unet_samples:,} |
| mean squared error of the predicted velocity | {loss:.4f} |
| by how much it is larger without the caption | {text_gain:.4f} |

Images are {resolution} px, latents {channels} x {side} x {side}, text 77 tokens of a small vocabulary, v-prediction.
quality.json has the numbers by timestep and by step, docs/tiny-base.md what they mean and why the parts are as they are.
"""


def look_at_base(
    run: Path,
    networks: Networks,
    shown: Sequence[tuple[NDArray[np.uint8], str]],
    folder: Path,
    stop: Callable[[], bool],
) -> bool:
    """Write `captions.png`: real images beside ones made from nothing but their captions; False if a stop broke it off."""
    vae, text_encoder, tokenizer, unet, scheduler = networks
    pipeline = pipeline_of(vae, text_encoder, tokenizer, unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    made: list[NDArray[np.uint8]] = []
    for first in range(0, len(shown), AT_ONCE):
        if stop():
            return False
        texts = [text for _, text in shown[first : first + AT_ONCE]]
        images = pipeline(
            texts,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(first + i) for i in range(len(texts))],
            output_type="np",
        ).images
        made += list((images * 255).round().astype(np.uint8))
    write_sheet(folder / "captions.png", [(real, ours) for (real, _), ours in zip(shown, made, strict=True)])
    return True


def write_base(run: Path, networks: Networks) -> Path:
    """Replace `run/base` by the networks as they are, in float16."""
    vae, text_encoder, tokenizer, unet, scheduler = networks
    halves = [deepcopy(network).half().to(memory_format=torch.contiguous_format) for network in (vae, text_encoder, unet)]
    partial, base = run / ".base", run / "base"
    shutil.rmtree(partial, ignore_errors=True)
    pipeline_of(halves[0], halves[1], tokenizer, halves[2], scheduler).save_pretrained(partial)
    quality = quality_of(run)
    (partial / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    megabytes = sum(path.stat().st_size for path in partial.rglob("*.safetensors")) / 1e6
    latest = {stage: quality[stage][-1] for stage in quality}
    (partial / "README.md").write_text(
        README.format(
            megabytes=megabytes,
            resolution=vae.config.sample_size,
            channels=vae.config.latent_channels,
            side=unet.config.sample_size,
            vae_steps=latest["autoencoder"]["step"],
            vae_samples=latest["autoencoder"]["samples"],
            unet_steps=latest["denoiser"]["step"],
            unet_samples=latest["denoiser"]["samples"],
            **{name: latest["autoencoder"][name] for name in ("psnr", "sharpness")},
            **{name: latest["denoiser"][name] for name in ("loss", "text_gain")},
        )
    )
    if base.exists():
        shutil.rmtree(base)
    partial.rename(base)
    return base


def quality_of(run: Path) -> dict[str, list[dict[str, Any]]]:
    """Of each stage every validation, in the order of steps: the curves."""
    return {
        stage: [line for line in (flat(line) for line in read_metrics(run / stage)) if line]
        for stage in ("autoencoder", "denoiser")
    }


def flat(line: dict[str, Any]) -> dict[str, Any]:
    """A validation's numbers with its step and the images seen; nothing of other lines."""
    if "validation" not in line:
        return {}
    return {"step": line["step"], "samples": line["samples"]} | {k: round(v, 4) for k, v in line["validation"].items()}


def pipeline_of(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
) -> StableDiffusionPipeline:
    """Of stock diffusers."""
    for network in (vae, unet):
        network.register_to_config(_name_or_path="tiny")  # else a folder of this machine would be shipped
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
