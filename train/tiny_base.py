"""Train the tiny base that ships with the project, from nothing, on simulated data only.

    python -m train.tiny_base --work runs/tiny --out models/tiny

Simulates a release, builds its 256 px patches, trains the autoencoder, then UNet and text encoder together on pre and
post images and their captions, measures on held-out scenes and writes a plain diffusers folder with a README. What a
stage left in the work folder is used again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from data.build import build
from data.dataset import open_dataset
from data.simulate import simulate
from models.tiny_networks import (
    LATENT_CHANNELS,
    RESOLUTION_PX,
    TEXT_TOKENS,
    tiny_noise_schedule,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)

KL_WEIGHT = 1e-6  # as Stable Diffusion's autoencoder (latent diffusion, supplement G)
EDGE_WEIGHT = 1.0  # of the L1 between image gradients: keeps roofs and roads sharp without a discriminator
CROP_PX = 64  # the autoencoder is convolutional; four crops cost one image
CAPTION_DROPOUT = 0.1
CAPTION_STYLES = ("diffusionsat", "short")  # one caption of each


@dataclass(frozen=True)
class Split:
    """Images (N, 3, 128, 128) uint8, pre and post in turn, and for each the captions it may be shown with."""

    images: Tensor
    captions: list[list[str]]


def train_tiny_base(
    *,
    work: Path = Path("runs/tiny"),
    out: Path = Path("models/tiny"),
    scenes: int = 240,
    seed: int = 1,
    vae_steps: int = 3000,
    unet_steps: int = 7000,
) -> None:
    """Train the tiny base from nothing on simulated data.

    Args:
        work: folder for the simulated release, the dataset and the trained autoencoder; kept, and used again if there.
        out: the diffusers folder to write.
        scenes: simulated locations of 1024 px; every fifth is held out.
        seed: of the simulation, the weights and the training order.
        vae_steps: autoencoder steps of 16 crops of 64 px.
        unet_steps: denoiser steps of 32 images of 128 px.
    """
    torch.manual_seed(seed)
    if not (work / "release").exists():
        simulate(out=work / "release", scenes=scenes, seed=seed)
    if not (work / "dataset").exists():
        build(source=work / "release", out=work / "dataset", size=256)
    train, test = (load_split(open_dataset(work / "dataset", name)) for name in ("train", "test"))

    if not (work / "vae").exists():
        vae = train_vae(tiny_vae(), train.images, vae_steps)
        vae.register_to_config(scaling_factor=1 / latent_std(vae, train.images[:512]))
        vae.save_pretrained(work / "vae")
    vae = AutoencoderKL.from_pretrained(work / "vae").requires_grad_(False).eval()
    if not (work / "tokenizer").exists():  # the order of its tokens differs from one training to the next
        tiny_tokenizer(text for texts in train.captions for text in texts).save_pretrained(work / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    if not (work / "unet").exists():
        unet, text_encoder = train_denoiser(vae, tokenizer, train, unet_steps)
        text_encoder.save_pretrained(work / "text_encoder")
        unet.save_pretrained(work / "unet")
    unet = UNet2DConditionModel.from_pretrained(work / "unet").requires_grad_(False).eval()
    text_encoder = (
        CLIPTextModel.from_pretrained(work / "text_encoder", dtype=torch.float32).requires_grad_(False).eval()
    )
    quality = {
        "scenes": scenes,
        "seed": seed,
        "vae_steps": vae_steps,
        "unet_steps": unet_steps,
        "vae_psnr_db": round(reconstruction_psnr(vae, test.images[:512]), 2),
        "denoising_mse": round(denoising_error(vae, tokenizer, text_encoder, unet, test), 4),
    }
    save(out, quality, vae, text_encoder, tokenizer, unet, tiny_noise_schedule())


def load_split(dataset: Dataset) -> Split:
    """Decode every pre and post image at the tiny base's resolution."""
    images, captions = [], []
    for row in tqdm(dataset.with_format(None), desc="decode patches", unit="patch"):
        for phase in ("pre", "post"):
            picture = row[phase].resize((RESOLUTION_PX, RESOLUTION_PX), Image.Resampling.BOX)
            images.append(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
            entries = [entry for entry in row["captions"] if entry["target"] == phase]
            captions.append([next(e["text"] for e in entries if e["style"] == style) for style in CAPTION_STYLES])
    return Split(torch.stack(images), captions)


def to_network(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def optimise(
    parameters: list[torch.nn.Parameter], steps: int, learning_rate: float, loss_of: Callable[[], Tensor], name: str
) -> Iterator[None]:
    """AdamW on a cosine schedule; yields after every step."""
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = get_cosine_schedule_with_warmup(optimizer, 200, steps)
    bar = tqdm(range(steps), desc=name, unit="step", mininterval=5)
    for step in bar:
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        yield


def train_vae(vae: AutoencoderKL, images: Tensor, steps: int, batch: int = 16) -> AutoencoderKL:
    """L1 on pixels and on their gradients, and a trace of KL."""
    vae.to(memory_format=torch.channels_last)

    def loss_of() -> Tensor:
        picks = torch.randint(len(images), (batch,))
        top, left = torch.randint(RESOLUTION_PX - CROP_PX + 1, (2,)).tolist()
        pixels = to_network(images[picks, :, top : top + CROP_PX, left : left + CROP_PX])
        pixels = pixels.to(memory_format=torch.channels_last)
        posterior = vae.encode(pixels).latent_dist
        decoded = vae.decode(posterior.sample()).sample.float()
        edges = sum((decoded.diff(dim=d) - pixels.diff(dim=d)).abs().mean() for d in (2, 3))
        loss: Tensor = (decoded - pixels).abs().mean() + EDGE_WEIGHT * edges + KL_WEIGHT * posterior.kl().mean()
        return loss

    for _ in optimise(list(vae.parameters()), steps, 1e-3, loss_of, "autoencoder"):
        pass
    return vae.requires_grad_(False).eval()


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Posterior means, unscaled: (N, 8, 16, 16)."""
    batches = tqdm(images.split(32), desc="encode", unit="batch", mininterval=5)
    return torch.cat([vae.encode(to_network(batch)).latent_dist.mean for batch in batches])


def latent_std(vae: AutoencoderKL, images: Tensor) -> float:
    """Standard deviation over everything: its inverse is the scaling factor (latent diffusion, supplement G)."""
    return float(encode(vae, images).std())


def train_denoiser(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, train: Split, steps: int, batch: int = 32
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """v-prediction with the text encoder trained along; returns the exponential moving averages."""
    latents = encode(vae, train.images) * vae.config.scaling_factor
    texts = sorted({text for options in train.captions for text in options} | {""})
    tokens = tokenize(tokenizer, texts)
    row_of = {text: row for row, text in enumerate(texts)}
    caption_rows = [[row_of[text] for text in options] for options in train.captions]
    schedule = tiny_noise_schedule()
    model = torch.nn.ModuleDict({"unet": tiny_unet(), "text_encoder": tiny_text_encoder(tokenizer)})
    average = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)

    def loss_of() -> Tensor:
        picks = torch.randint(len(latents), (batch,)).tolist()
        rows = [caption_rows[i][np.random.randint(len(caption_rows[i]))] for i in picks]
        rows = [
            row_of[""] if dropped else row
            for row, dropped in zip(rows, torch.rand(batch) < CAPTION_DROPOUT, strict=True)
        ]
        flipped = torch.rand(batch) < 0.5
        clean = torch.where(flipped[:, None, None, None], latents[picks].flip(-1), latents[picks])
        noise, timesteps = torch.randn_like(clean), torch.randint(1000, (batch,))
        states = model["text_encoder"](tokens[rows]).last_hidden_state
        predicted = model["unet"](schedule.add_noise(clean, noise, timesteps), timesteps, states).sample
        return F.mse_loss(predicted.float(), schedule.get_velocity(clean, noise, timesteps))

    for _ in optimise(list(model.parameters()), steps, 1e-3, loss_of, "denoiser"):
        average.step(model.parameters())
    average.copy_to(model.parameters())
    model.requires_grad_(False).eval()
    return model["unet"], model["text_encoder"]


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """(N, 77) token ids."""
    tokens: Tensor = tokenizer(
        texts, padding="max_length", truncation=True, max_length=TEXT_TOKENS, return_tensors="pt"
    ).input_ids
    return tokens


@torch.no_grad()
def reconstruction_psnr(vae: AutoencoderKL, images: Tensor) -> float:
    """Mean PSNR of decode(encode(x)), dB on [0, 255]."""
    psnr = []
    for batch in images.split(32):
        decoded = vae.decode(vae.encode(to_network(batch)).latent_dist.mean).sample
        error = (decoded.clamp(-1, 1) - to_network(batch)).square().mean(dim=(1, 2, 3)) / 4
        psnr.append(-10 * error.log10())
    return float(torch.cat(psnr).mean())


@torch.no_grad()
def denoising_error(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, unet: UNet2DConditionModel, split: Split
) -> float:
    """Mean v-prediction error on held-out images at evenly spread timesteps and fixed noise."""
    generator = torch.Generator().manual_seed(0)
    latents = encode(vae, split.images[:256]) * vae.config.scaling_factor
    tokens = tokenize(tokenizer, [options[-1] for options in split.captions[:256]])
    timesteps = torch.linspace(0, 999, len(latents)).long()
    noise = torch.randn(latents.shape, generator=generator)
    schedule = tiny_noise_schedule()
    predicted = unet(
        schedule.add_noise(latents, noise, timesteps), timesteps, text_encoder(tokens).last_hidden_state
    ).sample
    return float(F.mse_loss(predicted, schedule.get_velocity(latents, noise, timesteps)))


def save(
    out: Path,
    quality: dict[str, float],
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    scheduler: DDIMScheduler,
) -> None:
    """Write a plain diffusers folder in float16 and its README."""
    for network in (vae, unet):
        network.register_to_config(_name_or_path="tiny")  # else the work folder's path would be shipped
    StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out)
    command = "python -m train.tiny_base " + " ".join(
        f"--{name} {quality[name]}" for name in ("scenes", "seed", "vae_steps", "unet_steps")
    )
    megabytes = sum(path.stat().st_size for path in out.rglob("*.safetensors")) / 1e6
    (out / "README.md").write_text(
        "# The tiny base\n\n"
        f"A latent-diffusion model of {megabytes:.1f} MB in the diffusers folder format, trained from nothing on "
        "simulated pre- and post-disaster images\n(`pre2post simulate`) and their captions. It is for demos, tests and "
        "first looks, not for research results.\n\n"
        f"Made by\n\n    {command}\n\nin under two hours on 2 CPU cores. Measured on held-out simulated scenes "
        "by the same command:\n\n"
        f"| what | value |\n|---|---|\n| autoencoder, mean PSNR of the reconstruction | {quality['vae_psnr_db']} dB |\n"
        f"| denoiser, mean squared error of the predicted velocity | {quality['denoising_mse']} |\n\n"
        f"Images are {RESOLUTION_PX} px (256 px patches at half size), latents {LATENT_CHANNELS} x 16 x 16, text 77 "
        "tokens of a small vocabulary, v-prediction.\n"
    )
    (out / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")


if __name__ == "__main__":
    auto_cli(train_tiny_base, as_positional=False)
