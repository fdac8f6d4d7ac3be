"""The frozen base: VAE, text encoder, tokenizer, UNet and noise schedule of one diffusers folder.

Everything about the base (prediction type, scaling factor, text width, resolution) is read from its own config files.
Its parts are loaded one by one, so that a trainer with a filled cache never holds the VAE or the text encoder.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ConfigMixin, DDIMScheduler, PNDMScheduler, SchedulerMixin
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from data.storage import sha256
from models.base_config import TextEncoderConfig, read_config, read_json, single_file_advice
from models.errors import BaseError
from models.families import check_config, family_of
from models.families.family import Family, Network
from models.families.noise import Noise
from models.frozen import frozen
from models.hub import from_hub
from models.images import LatentScale
from models.samplers import ABSENT, NOT_FROM_PURE_NOISE, NOT_OF_LATENTS, SAMPLERS
from models.text import TEXT_ENCODERS, open_tokenizer, text_class
from models.weight_files import check_fit, find_layout, is_weight, tensors_sha256, unfit, weight_files

TINY = Path(__file__).parent / "tiny"  # the small base that ships with the project; see its README.md


def load_base(path_or_id: str | Path, *, download: bool = True, instruct: bool = False) -> "Base":
    """Open a base of one of models/families; everything but the weights themselves is checked.

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
    base.load_tokenizers()
    base.load_noise_schedule()
    for part in base.weighted_parts:
        base.check_weights(part)
    return base


@dataclass(frozen=True)
class Base:
    """A base folder whose parts are loaded on demand, frozen and in eval mode."""

    name: str  # as the user wrote it
    folder: Path

    @cached_property
    def family(self) -> Family:
        """Which decides whatever differs among bases."""
        return family_of(self.folder)

    @property
    def weighted_parts(self) -> tuple[str, ...]:
        """The folders of networks."""
        return ("vae", *self.text_encoders, self.family.network)

    @property
    def text_encoders(self) -> list[str]:
        """The folders of the text encoders that are there."""
        return [part for part in self.family.text_encoders if (self.folder / part).is_dir()]

    def load_vae(self, dtype: torch.dtype = torch.float32) -> AutoencoderKL:
        """The image autoencoder: (B, 3, H, W) in [-1, 1] <-> (B, C, H/8, W/8)."""
        return self._load("vae", torch_dtype=self.family.vae_dtype(self.config("vae"), dtype))

    def load_text_encoder(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The text encoder, or all of them as one module, for `encode`."""
        encoders = [self._load(part, dtype=dtype) for part in self.text_encoders]
        return self.family.text_network(encoders, self.config(self.family.network))

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the first text encoder, by which the length of a caption is counted."""
        return self.load_tokenizers()[0]

    def load_tokenizers(self) -> list[PreTrainedTokenizerBase]:
        """Those of all text encoders."""
        return [self._tokenizer(part) for part in self.text_encoders]

    def tokenize(self, texts: Sequence[str], chunks: int = 1) -> Tensor:
        """Token ids (B, ...) int64 of captions, `chunks` 77-token pieces of each, for `encode`."""
        return self.family.tokenize(self.load_tokenizers(), texts, chunks, self.index)

    def empty_unet(self) -> Any:  # noqa: ANN401 (of the family's class)
        """The denoiser without weights, on the meta device."""
        config = self.config(self.family.network)
        with torch.device("meta"):
            return frozen(self.family.network_class(self.family.network, config).from_config(config))

    def empty_told(self, chunks: int = 1) -> dict[str, Tensor]:
        """What `encode` gives of one caption, on the meta device: shapes without values."""
        with torch.device("meta"):
            encoders = [self.build(part).eval() for part in self.text_encoders]
            network = self.family.text_network(encoders, self.config(self.family.network))
        return self.encode(network, self.tokenize([""], chunks).to("meta"))

    @torch.no_grad()
    def encode(self, text_encoder: nn.Module, token_ids: Tensor) -> dict[str, Tensor]:
        """What the networks are told of B captions: `states` (B, T, D), and of some families more."""
        return self.family.encode(text_encoder, token_ids)

    def load_unet(self, dtype: torch.dtype = torch.float32) -> Any:  # noqa: ANN401 (of the family's class)
        """The denoiser: a UNet, or a transformer."""
        return self._load(self.family.network, torch_dtype=dtype)

    def load_noise_schedule(self) -> Noise:
        """The forward process, for training."""
        kind = self.family.noise
        return kind(self._scheduler(kind.scheduler))

    def load_sampler(self, name: str | None = None, zero_terminal_snr: bool = False) -> SchedulerMixin:
        """The reverse process for generation: one of SAMPLERS on the base's own noise schedule, or on the rescaled one.

        `zero_terminal_snr`: the training rescaled it to end in pure noise, and sampling starts at its last step (Lin et
        al., "Common diffusion noise schedules and sample steps are flawed", 2024, section 3.3).
        """
        kind, settings = SAMPLERS[name or self.family.samplers[0]]
        if kind in (DDIMScheduler, PNDMScheduler):
            settings = settings | {field: value for field, value in ABSENT.items() if field not in self._saved_schedule}
        if zero_terminal_snr:
            settings = settings | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return self._scheduler(kind, **settings)

    def samplers(self, zero_terminal_snr: bool = False) -> list[str]:
        """The solvers that fit, the usual one first, by the base's files alone; see `load_sampler`."""
        saved = self._saved_schedule
        unfit: tuple[str, ...] = NOT_OF_LATENTS if saved.get("prediction_type") == "sample" else ()
        unfit += NOT_FROM_PURE_NOISE if zero_terminal_snr or saved.get("rescale_betas_zero_snr") else ()
        return [name for name in self.family.samplers if name not in unfit]

    @cached_property
    def resolution(self) -> int:
        """Side of the images that the UNet was made for, px."""
        return int(self.config(self.family.network)["sample_size"]) * self.vae_scale_factor

    @cached_property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell along one axis."""
        stages: list[int] = self.config("vae")["block_out_channels"]
        return 1 << (len(stages) - 1)

    @cached_property
    def latents(self) -> LatentScale:
        """How the VAE's latents are scaled for the denoiser."""
        return LatentScale.of(self.config("vae"))

    @cached_property
    def index(self) -> dict[str, Any]:
        """model_index.json; empty if there is none."""
        path = self.folder / "model_index.json"
        return read_json(path) if path.is_file() else {}

    def config(self, part: str) -> dict[str, Any]:
        """The config file of one part, as on disk."""
        return read_json(self.folder / part / "config.json")

    def weights_hash(self, part: str) -> str:
        """What caches and checkpoints are tied to: the hash of a part's tensors, however they are stored."""
        return tensors_sha256(weight_files(self.folder / part))

    @property
    def network_hash(self) -> str:
        """Of what denoises: what checkpoints are tied to."""
        return self.weights_hash(self.family.network)

    @property
    def text_hash(self) -> str:
        """The hashes of all text encoders."""
        return "+".join(map(self.weights_hash, self.text_encoders))

    def has_hash(self, part: str, noted: str) -> bool:
        """Whether a part is the one whose hash was noted, by `weights_hash` or by the earlier hash over files."""
        return noted == self.weights_hash(part) or noted == self._files_hash(part)

    def check_weights(self, part: str) -> None:
        """Stop unless the weight files of a part hold every tensor of its network, in its shape; none is read."""
        check_fit(self.folder / part, lambda: self.build(part))

    def build(self, part: str) -> Any:  # noqa: ANN401 (the network of the part)
        """A part as its config says, with new weights; read from files by the others above."""
        kind, config = self._class(part), self.config(part)
        return kind.from_config(config) if issubclass(kind, ConfigMixin) else kind(kind.config_class(**config))

    def _tokenizer(self, encoder: str) -> PreTrainedTokenizerBase:
        text = read_config(self.folder, encoder, TextEncoderConfig)
        folder = self.folder / encoder.replace("text_encoder", "tokenizer")
        kind = TEXT_ENCODERS[text_class(self.folder, encoder)][1]
        return open_tokenizer(folder, text.vocab_size, text.max_position_embeddings, kind)

    def _class(self, part: str) -> type[Network]:
        if part in self.text_encoders:
            return TEXT_ENCODERS[text_class(self.folder, part)][0]
        return self.family.network_class(part, self.config(part))

    @cached_property
    def _saved_schedule(self) -> dict[str, Any]:
        return read_json(self.folder / "scheduler" / "scheduler_config.json")

    def _scheduler(self, kind: type[SchedulerMixin], **settings: Any) -> Any:  # noqa: ANN401 (of that kind)
        path = self.folder / "scheduler" / "scheduler_config.json"
        try:
            return kind.from_config(self._saved_schedule, **settings)
        except Exception as error:  # the libraries raise many kinds for an impossible setting
            raise BaseError(f"{path}: no noise schedule of {kind.__name__} ({error}). Copy it again.") from error

    def _load(self, part: str, **precision: torch.dtype) -> Any:  # noqa: ANN401 (the network of the part)
        layout = find_layout([path.name for path in (self.folder / part).iterdir()])
        settings: dict[str, Any] = {"use_safetensors": True, "variant": layout and layout.variant, **precision}
        try:
            kind = self._class(part)
            network, loading = kind.from_pretrained(self.folder, subfolder=part, output_loading_info=True, **settings)
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
