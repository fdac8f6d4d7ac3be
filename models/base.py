"""The frozen base: VAE, text encoder, tokenizer, UNet and noise schedule of one diffusers folder.

Everything about the base (prediction type, scaling factor, text width, resolution) is read from its own config files.
Its parts are loaded one by one, so that a trainer with a filled cache never holds the VAE or the text encoder.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from transformers import CLIPTextModel, CLIPTokenizer

from data.storage import sha256
from models.frozen import frozen
from models.sat_unet import SatUNet

TINY = Path(__file__).parent / "tiny"  # the small base that ships with the project; see its README.md
PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
WEIGHTED_PARTS = ("vae", "text_encoder", "unet")

# Solvers of the reverse process, by the names of their papers.
SAMPLERS = {"ddim": DDIMScheduler, "unipc": UniPCMultistepScheduler, "dpm++": DPMSolverMultistepScheduler}


class BaseError(ValueError):
    """A base folder that cannot be used; the message names the file and the mend."""


def load_base(path_or_id: str | Path) -> "Base":
    """Open a Stable Diffusion 1.x/2.x base, or a DiffusionSat one.

    Args:
        path_or_id: a diffusers folder, a hub id, or `tiny` for the base that ships with the project.

    Raises:
        BaseError: the folder lacks a part, or the hub has no such id or cannot be reached.
    """
    name = str(path_or_id)
    folder = TINY if name == "tiny" else Path(name)
    if not folder.is_dir():
        folder = _download(name)
    _check_complete(folder)
    return Base(name, folder)


@dataclass(frozen=True)
class Base:
    """A base folder whose parts are loaded on demand, frozen and in eval mode."""

    name: str  # as the user wrote it
    folder: Path

    def load_vae(self, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
        """The image autoencoder: (B, 3, H, W) in [-1, 1] <-> (B, C, H/8, W/8)."""
        return frozen(AutoencoderKL.from_pretrained(self.folder, subfolder="vae", torch_dtype=dtype))

    def load_text_encoder(self, dtype: torch.dtype = torch.float32) -> CLIPTextModel:
        """The text encoder: (B, 77) token ids -> last hidden state (B, 77, cross_attention_dim)."""
        return frozen(CLIPTextModel.from_pretrained(self.folder, subfolder="text_encoder", dtype=dtype))

    def load_tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the text encoder."""
        return CLIPTokenizer.from_pretrained(self.folder, subfolder="tokenizer")

    def load_unet(self, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        """The denoiser; a SatUNet, which is told metadata, if its config says so."""
        kind = SatUNet if self.config("unet").get("use_metadata") else UNet2DConditionModel
        return frozen(kind.from_pretrained(self.folder, subfolder="unet", torch_dtype=dtype))

    def load_noise_schedule(self) -> DDPMScheduler:
        """The forward process: alphas and prediction type, for training."""
        return DDPMScheduler.from_pretrained(self.folder, subfolder="scheduler")

    def load_sampler(self, name: str = "ddim", zero_terminal_snr: bool = False) -> SchedulerMixin:
        """The reverse process for generation: one of SAMPLERS on the base's own noise schedule, or on the rescaled one.

        `zero_terminal_snr`: the training rescaled it to end in pure noise, and sampling starts at its last step (Lin et
        al., "Common diffusion noise schedules and sample steps are flawed", 2024, section 3.3).
        """
        sampler = SAMPLERS[name].from_pretrained(self.folder, subfolder="scheduler")
        if not zero_terminal_snr:
            return sampler
        return SAMPLERS[name].from_config(sampler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing")

    @cached_property
    def resolution(self) -> int:
        """Side of the images that the UNet was made for, px."""
        return int(self.config("unet")["sample_size"]) * self.vae_scale_factor

    @cached_property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell along one axis."""
        stages: list[int] = self.config("vae")["block_out_channels"]
        return 1 << (len(stages) - 1)

    def config(self, part: str) -> dict[str, Any]:
        """The config file of one part, as on disk."""
        config: dict[str, Any] = json.loads((self.folder / part / "config.json").read_text())
        return config

    def weights_hash(self, part: str) -> str:
        """SHA-256 over one part's config and weight files: what caches and checkpoints are tied to."""
        digest = hashlib.sha256()
        for path in [self.folder / part / "config.json", *sorted((self.folder / part).glob("*.safetensors"))]:
            digest.update(sha256(path).encode())
        return digest.hexdigest()


def _download(name: str) -> Path:
    try:
        return Path(DiffusionPipeline.download(name, use_safetensors=True))
    except Exception as error:  # the hub client raises many kinds; all mean the same to the user
        raise BaseError(
            f"{name}: neither a folder here nor a base that the Hugging Face hub gives "
            f"({type(error).__name__}: {error}). Check the spelling, or download it where there is a network "
            "and pass the folder."
        ) from error


def _check_complete(folder: Path) -> None:
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise BaseError(
            f"{folder}: not a complete diffusers folder, it lacks {', '.join(f'{part}/' for part in missing)}. "
            "Copy the whole folder again, or name another --model.base."
        )
    for part in WEIGHTED_PARTS:
        if not (folder / part / "config.json").is_file():
            raise BaseError(f"{folder / part}: config.json is missing. Copy the whole diffusers folder again.")
        if not list((folder / part).glob("*.safetensors")):
            has_bin = list((folder / part).glob("*.bin"))
            mend = (
                "Only .bin weights are there; nothing is unpickled here. Make a clean folder of it: "
                f"pre2post convert --source {folder} --out {folder}-clean"
                if has_bin
                else "Copy the whole diffusers folder again."
            )
            raise BaseError(f"{folder / part}: no .safetensors weights. {mend}")
