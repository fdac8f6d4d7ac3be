"""The usual way to train a ControlNet with diffusers, as a baseline: nothing is cached between steps.

    python -m benchmarks.speed.reference_loop --base BASE --dataset DATASET --out OUT --resolution 256 --batch 2

Every step decodes and resizes its images, runs the VAE on the targets and the text encoder on the captions, then
ControlNet and UNet; float32 unless mixed precision is requested, PyTorch's plain AdamW, clipping and a learning rate
schedule, through accelerate. The work of a step is that of diffusers' example `train_controlnet.py` with its default
settings (read at commit 58eb52c), the code is not. Metrics have the same names as ours.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import Dataset
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from jsonargparse import auto_cli
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import CLIPTextModel, CLIPTokenizer

from data.dataset.open import open_dataset
from train.saving.run_files import METRICS
from train.watching.metrics_log import peak_memory_gb

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Frozen:
    """The frozen networks."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    unet: UNet2DConditionModel
    schedule: DDPMScheduler


@dataclass(frozen=True)
class Pairs(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Patches, decoded and resized at every access."""

    patches: Dataset
    tokenizer: CLIPTokenizer
    resolution: int  # px

    def __len__(self) -> int:
        """Patches."""
        return len(self.patches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """`target` (3, H, W) in [-1, 1], `condition` (3, H, W) in [0, 1], `token_ids` (77,)."""
        patch = self.patches[index]
        caption = next(c["text"] for c in patch["captions"] if c["style"] == "short" and c["target"] == "post")
        tokens = self.tokenizer(caption, max_length=77, padding="max_length", truncation=True, return_tensors="pt")
        return {
            "target": self._pixels(patch["post"]) * 2 - 1,
            "condition": self._pixels(patch["pre"]),
            "token_ids": tokens.input_ids[0],
        }

    def _pixels(self, image: Image.Image) -> Tensor:
        size = (self.resolution, self.resolution)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def load_networks(base: Path) -> tuple[Frozen, ControlNetModel]:
    """The parts of a diffusers folder in float32, and a ControlNet made of the UNet."""
    frozen = Frozen(
        AutoencoderKL.from_pretrained(base, subfolder="vae", torch_dtype=torch.float32),
        CLIPTextModel.from_pretrained(base, subfolder="text_encoder", dtype=torch.float32),
        UNet2DConditionModel.from_pretrained(base, subfolder="unet", torch_dtype=torch.float32),
        DDPMScheduler.from_pretrained(base, subfolder="scheduler"),
    )
    for network in (frozen.vae, frozen.text_encoder, frozen.unet):
        network.requires_grad_(False)
    # As wide as ours: on a small base the example's own 256 channels would dominate the cost.
    widths = tuple(min(width, frozen.unet.config.block_out_channels[0]) for width in (16, 32, 96, 256))
    controlnet = ControlNetModel.from_unet(frozen.unet, conditioning_embedding_out_channels=widths)
    return frozen, controlnet.train()


def loss_of(
    frozen: Frozen, controlnet: ControlNetModel, batch: dict[str, Tensor], spread: Tensor, noise: Tensor, steps: Tensor
) -> Tensor:
    """Mean squared error of a batch of `Pairs`.

    Args:
        frozen: in the compute type.
        controlnet: float32; accelerate may have wrapped it.
        batch: of `Pairs`.
        spread: (B, C, h, w), standard normal: noise to sample the VAE's posterior.
        noise: (B, C, h, w).
        steps: (B,) int64 timesteps.
    """
    dtype, vae, schedule = frozen.unet.dtype, frozen.vae, frozen.schedule
    posterior = vae.encode(batch["target"].to(dtype)).latent_dist
    latents = (posterior.mean + posterior.std * spread.to(dtype)) * vae.config.scaling_factor
    noise = noise.to(dtype)
    noisy = schedule.add_noise(latents, noise, steps)
    states = frozen.text_encoder(batch["token_ids"])[0]
    condition = batch["condition"].to(dtype)
    down, mid = controlnet(noisy, steps, encoder_hidden_states=states, controlnet_cond=condition, return_dict=False)
    (predicted,) = frozen.unet(
        noisy,
        steps,
        encoder_hidden_states=states,
        down_block_additional_residuals=[residual.to(dtype) for residual in down],
        mid_block_additional_residual=mid.to(dtype),
        return_dict=False,
    )
    v_prediction = schedule.config.prediction_type == "v_prediction"
    wanted = schedule.get_velocity(latents, noise, steps) if v_prediction else noise
    return F.mse_loss(predicted.float(), wanted.float())


def reference_loop(
    *,
    base: Path,
    dataset: Path,
    out: Path,
    resolution: int,
    batch: int,
    steps: int = 1_000_000,
    window: int = 1,
    workers: int = 0,
    mixed_precision: Literal["no", "bf16", "fp16"] = "no",
    seed: int = 0,
) -> None:
    """Train and write a line of metrics every `window` steps.

    Args:
        base: a diffusers folder.
        dataset: a built dataset; its `train` split is used.
        out: folder for metrics.jsonl. No weights are saved.
        resolution: px.
        batch: examples per step.
        steps: optimizer steps.
        window: steps per line.
        workers: data worker processes.
        mixed_precision: passed to accelerate; the frozen networks are cast to it once.
        seed: of all random draws.
    """
    set_seed(seed)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=mixed_precision)
    frozen, controlnet = load_networks(base)
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=1e-5, weight_decay=0.01)
    pairs = Pairs(
        open_dataset(dataset, "train"), CLIPTokenizer.from_pretrained(base, subfolder="tokenizer"), resolution
    )
    loader = DataLoader(pairs, batch_size=batch, shuffle=True, num_workers=workers, drop_last=True)
    schedule = get_scheduler("constant", optimizer=optimizer)
    controlnet, optimizer, loader, schedule = accelerator.prepare(controlnet, optimizer, loader, schedule)
    for network in (frozen.vae, frozen.text_encoder, frozen.unet):
        network.to(accelerator.device, DTYPES[mixed_precision])
    out.mkdir(parents=True, exist_ok=True)
    batches, started, waited = endless(loader), time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        requested = time.perf_counter()
        drawn = next(batches)
        waited += time.perf_counter() - requested
        shape = (batch, frozen.unet.config.in_channels, resolution // 8, resolution // 8)
        spread, noise = (torch.randn(shape, device=accelerator.device) for _ in range(2))
        times = torch.randint(0, frozen.schedule.config.num_train_timesteps, (batch,), device=accelerator.device)
        loss = loss_of(frozen, controlnet, drawn, spread, noise, times)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(controlnet.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=False)
        loss_value = loss.detach().item()
        if step % window == 0:
            seconds = time.perf_counter() - started
            line = {
                "step": step,
                "loss": loss_value,
                "examples_per_second": window * batch / seconds,
                "data_wait": waited / seconds,
                "peak_memory_gb": peak_memory_gb(accelerator.device),
            }
            with (out / METRICS).open("a") as file:
                file.write(json.dumps(line) + "\n")
            started, waited = time.perf_counter(), 0.0


def endless(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Repeat the loader's epochs forever."""
    while True:
        yield from loader


if __name__ == "__main__":
    auto_cli(reference_loop, as_positional=False)
