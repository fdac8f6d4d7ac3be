"""The frozen base: VAE, text encoder, tokenizer, UNet and noise schedule of one diffusers folder.

Everything about the base (prediction type, scaling factor, text width, resolution) is read from its own config files.
Its parts are loaded one by one, so that a trainer with a filled cache never holds the VAE or the text encoder.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    SchedulerMixin,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from data.storage import sha256
from models.base_config import TextEncoderConfig, check_config, read_config, read_json, single_file_advice
from models.diffusionsat.unet import SatUNet
from models.errors import BaseError
from models.frozen import frozen
from models.hub import from_hub
from models.text import open_tokenizer
from models.weight_files import check_fit, find_layout, is_weight, tensors_sha256, unfit, weight_files

TINY = Path(__file__).parent / "tiny"  # the small base that ships with the project; see its README.md
WEIGHTED_PARTS = ("vae", "text_encoder", "unet")

# Solvers of the reverse process, by the names of their papers, and the settings that override a base's file.
SAMPLERS: dict[str, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False}),  # latents are no pixels in [-1, 1]
    "unipc": (UniPCMultistepScheduler, {}),
    "dpm++": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
}
# Stable Diffusion's own values, for files of other solvers, which lack these fields.
DDIM_ABSENT = {"steps_offset": 1, "set_alpha_to_one": False}


def load_base(path_or_id: str | Path, *, download: bool = True, instruct: bool = False) -> "Base":
    """Open a Stable Diffusion 1.x/2.x base, or a DiffusionSat one; everything but the weights themselves is checked.

    Args:
        path_or_id: a diffusers folder, a hub id, or `tiny` for the base that ships with the project.
        download: whether the hub may be queried; if not, only earlier downloads are found.
        instruct: an InstructPix2Pix model is wanted instead.

    Raises:
        BaseError: the folder lacks a part, is of another kind, or its weights, tokenizer and config files do not
            match; or the hub has no such id or cannot be reached.
    """
    name = str(path_or_id)
    folder = TINY if name == "tiny" else Path(name)
    if folder.is_file():
        raise BaseError(f"{name}: not a folder. {single_file_advice(folder)}")
    if not folder.is_dir():
        folder = from_hub(name, download=download, instruct=instruct)
    check_config(folder, instruct=instruct)
    base = Base(name, folder)
    base.load_tokenizer()
    base.load_noise_schedule()
    for part in WEIGHTED_PARTS:
        base.check_weights(part)
    return base


@dataclass(frozen=True)
class Base:
    """A base folder whose parts are loaded on demand, frozen and in eval mode."""

    name: str  # as the user wrote it
    folder: Path

    def load_vae(self, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
        """The image autoencoder: (B, 3, H, W) in [-1, 1] <-> (B, C, H/8, W/8)."""
        return self._load("vae", torch_dtype=dtype)

    def load_text_encoder(self, dtype: torch.dtype = torch.float32) -> CLIPTextModel:
        """The text encoder: (B, 77) token ids -> last hidden state (B, 77, cross_attention_dim)."""
        return self._load("text_encoder", dtype=dtype)

    def load_tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of the text encoder."""
        text = read_config(self.folder, "text_encoder", TextEncoderConfig)
        return open_tokenizer(self.folder / "tokenizer", text.vocab_size, text.max_position_embeddings)

    def load_unet(self, dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        """The denoiser; a SatUNet, conditioned on metadata, if its config says so."""
        return self._load("unet", torch_dtype=dtype)

    def load_noise_schedule(self) -> DDPMScheduler:
        """The forward process: alphas and prediction type, for training."""
        return self._scheduler(DDPMScheduler)

    def load_sampler(self, name: str = "ddim", zero_terminal_snr: bool = False) -> SchedulerMixin:
        """The reverse process for generation: one of SAMPLERS on the base's own noise schedule, or on the rescaled one.

        `zero_terminal_snr`: the training rescaled it to end in pure noise, and sampling starts at its last step (Lin et
        al., "Common diffusion noise schedules and sample steps are flawed", 2024, section 3.3).
        """
        kind, settings = SAMPLERS[name]
        if kind is DDIMScheduler:
            saved = read_json(self.folder / "scheduler" / "scheduler_config.json")
            settings = settings | {field: value for field, value in DDIM_ABSENT.items() if field not in saved}
        if zero_terminal_snr:
            settings = settings | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return self._scheduler(kind, **settings)

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
        return read_json(self.folder / part / "config.json")

    def weights_hash(self, part: str) -> str:
        """What caches and checkpoints are tied to: the hash of a part's tensors, however they are stored."""
        return tensors_sha256(weight_files(self.folder / part))

    def has_hash(self, part: str, noted: str) -> bool:
        """Whether a part is the one whose hash was noted, by `weights_hash` or by the earlier hash over files."""
        return noted == self.weights_hash(part) or noted == self._files_hash(part)

    def check_weights(self, part: str) -> None:
        """Stop unless the weight files of a part hold every tensor of its network, in its shape; none is read."""
        config = self.config(part)
        check_fit(self.folder / part, lambda: _from_config(network_class(part, config), config))

    def _scheduler(self, kind: type[SchedulerMixin], **settings: Any) -> Any:  # noqa: ANN401 (of that kind)
        path = self.folder / "scheduler" / "scheduler_config.json"
        try:
            return kind.from_config(read_json(path), **settings)
        except Exception as error:  # the libraries raise many kinds for an impossible setting
            raise BaseError(f"{path}: no noise schedule of {kind.__name__} ({error}). Copy it again.") from error

    def _load(self, part: str, **precision: torch.dtype) -> Any:  # noqa: ANN401 (the network of the part)
        layout = find_layout([path.name for path in (self.folder / part).iterdir()])
        settings: dict[str, Any] = {"use_safetensors": True, "variant": layout and layout.variant, **precision}
        try:
            network, loading = network_class(part, self.config(part)).from_pretrained(
                self.folder, subfolder=part, output_loading_info=True, **settings
            )
        except Exception as error:  # as above
            raise unfit(self.folder / part, error) from error
        if missing := sorted(filter(is_weight, loading["missing_keys"])):
            # The library has filled them with random numbers: it does not recognise their names.
            raise unfit(self.folder / part, f"this version of its library does not find {missing[0]}")
        return frozen(network)

    def _files_hash(self, part: str) -> str:
        """The earlier `weights_hash`, over config and weight files: a copy in another layout had another hash."""
        digest = hashlib.sha256()
        for path in [self.folder / part / "config.json", *sorted((self.folder / part).glob("*.safetensors"))]:
            digest.update(sha256(path).encode())
        return digest.hexdigest()


def network_class(part: str, config: dict[str, Any]) -> Any:  # noqa: ANN401 (a class of a library)
    """The class of the VAE, text encoder or UNet that a config file describes."""
    if part == "unet":
        return SatUNet if config.get("use_metadata") else UNet2DConditionModel
    return {"vae": AutoencoderKL, "text_encoder": CLIPTextModel}[part]


def _from_config(kind: Any, config: dict[str, Any]) -> Any:  # noqa: ANN401 (a class of a library, and its network)
    return kind(CLIPTextConfig(**config)) if kind is CLIPTextModel else kind.from_config(config)
