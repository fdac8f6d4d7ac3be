"""The base as a plain diffusers folder, with its README and measurements; images generated from captions."""

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer

from data.storage import whole_folder
from data.strict_json import as_json
from train.saving.run_files import read_metrics
from train.tiny.quality import write_sheet

SAMPLING_STEPS, GUIDANCE = 25, 2.0
Curves = dict[str, list[dict[str, Any]]]  # the validations of each stage
README = """# The tiny base

A latent-diffusion model of {megabytes:.1f} MB in the diffusers folder format, trained from scratch on simulated pre-
and post-disaster images (`pre2post simulate`) and their captions. It is for demos, tests and first looks, not for
research results. Made by

    python -m train.tiny --config configs/tiny_base.yaml

and measured on held-out simulated scenes by the same command:

| what | value |
|---|---|
| autoencoder: steps, crops seen | {vae_steps:,}, {vae_samples:,} |
| PSNR of the reconstruction, pooled over all pixels | {psnr:.2f} dB |
| sharpness of the reconstruction (1 = as sharp as the image) | {sharpness:.3f} |
| UNet and text encoder: steps, images seen | {unet_steps:,}, {unet_samples:,} |
| mean squared error of the predicted velocity | {loss:.4f} |
| its increase without the caption | {text_gain:.4f} |

Images are {resolution} px, latents {channels} x {side} x {side}, text 77 tokens of a small vocabulary, v-prediction.
quality.json has the numbers by timestep and by step; docs/tiny-base.md explains them.
"""


def show_captions(
    pipeline: StableDiffusionPipeline,
    shown: Sequence[tuple[NDArray[np.uint8], str]],
    folder: Path,
    stop: Callable[[], bool],
) -> bool:
    """Write `captions.png`: real images, and ones generated from their captions alone; False if interrupted."""
    pipeline.set_progress_bar_config(disable=True)
    made = []
    for number, (_, text) in enumerate(shown):
        if stop():
            return False
        image = pipeline(
            text,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(number),
            output_type="np",
        ).images[0]
        made.append((image * 255).round().astype(np.uint8))
    write_sheet(folder / "captions.png", [(real, ours) for (real, _), ours in zip(shown, made, strict=True)])
    return True


def write_base(run: Path, pipeline: StableDiffusionPipeline, start: Path | None) -> None:
    """Replace `run/base` with the current networks in float16, and the small text encoder in float32.

    By default transformers loads a network in the type it was saved in, diffusers in float32; a
    pipeline works only if both are the same.
    """
    quality = curves(run, start)
    # Copies: half precision is for the files only.
    vae, unet = (
        deepcopy(network).half().to(memory_format=torch.contiguous_format) for network in (pipeline.vae, pipeline.unet)
    )
    with whole_folder(run / "base", is_base_file) as partial:
        pipeline_of(vae, pipeline.text_encoder, pipeline.tokenizer, unet, pipeline.scheduler).save_pretrained(partial)
        (partial / "quality.json").write_text(as_json(quality), encoding="utf-8")
        weights = sum(path.stat().st_size for path in partial.rglob("*.safetensors"))
        (partial / "README.md").write_text(readme(pipeline, quality, weights / 1e6))


def is_base_file(name: str) -> bool:
    """Whether a base has a file or folder of this name; a folder with any other is not deleted."""
    parts = "vae|unet|text_encoder|tokenizer|scheduler"
    return re.fullmatch(rf"README\.md|{parts}|(({parts})/)?[\w.-]+\.(json|txt|safetensors)", name) is not None


def readme(pipeline: StableDiffusionPipeline, quality: Curves, megabytes: float) -> str:
    """Describe the base, how it was made, and its quality."""
    autoencoder, denoiser = quality["autoencoder"][-1], quality["denoiser"][-1]
    return README.format(
        megabytes=megabytes,
        resolution=pipeline.vae.config.sample_size,
        channels=pipeline.vae.config.latent_channels,
        side=pipeline.unet.config.sample_size,
        vae_steps=autoencoder["step"],
        vae_samples=autoencoder["samples"],
        unet_steps=denoiser["step"],
        unet_samples=denoiser["samples"],
        **{name: autoencoder[name] for name in ("psnr", "sharpness")},
        **{name: denoiser[name] for name in ("loss", "text_gain")},
    )


def curves(run: Path, start: Path | None) -> Curves:
    """All validations of both stages, in the order of steps, starting with those of the initial base."""
    quality: Curves = {}
    for stage in ("autoencoder", "denoiser"):
        before = json.loads((start / "quality.json").read_text())[stage] if start else []
        done = before[-1] if before else {"step": 0, "samples": 0}
        quality[stage] = before + [
            {name: done[name] + line[name] for name in ("step", "samples")}
            | {name: round(value, 4) for name, value in line["validation"].items()}
            for line in read_metrics(run / stage)
            if "validation" in line
        ]
    return quality


def pipeline_of(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
) -> StableDiffusionPipeline:
    """The stock diffusers pipeline."""
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
