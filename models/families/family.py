"""What one family of bases decides, and nobody else does: the one interface of everything that differs among them.

A family holds no state. CONTRIBUTING.md tells how another one is added.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from models.families.noise import Noise

Network = Any  # a module of diffusers or transformers, of a class that the family knows
Only = tuple[tuple[Any, ...], str]  # values that a setting may have, and why
Told = Mapping[str, Tensor]  # what a network is told besides latents, timestep and text states, by name
Added = Mapping[str, Any]  # further arguments of a network, for what is trained


@dataclass(frozen=True, kw_only=True)
class NewControlNet:
    """What a new ControlNet is to be."""

    seed: int  # of fresh weights
    vae_scale_factor: int  # pixels per latent cell
    kind: str = "2d"  # or 3d, 3d+attention, see `model.controlnet`
    latents: bool = False  # the condition is latents, not pixels
    conditioning_channels: int = 3  # of pixels
    metadata: bool = False  # it is conditioned on metadata
    null_metadata: str = "learned"  # or zero, see `model.null_metadata`
    blocks: int | None = None  # of a transformer that are copied; None = half of them


@dataclass(frozen=True, kw_only=True)
class Stock:
    """How pipelines of diffusers make the image that `pre2post generate` does."""

    alone: type[Any]  # the pipeline without ControlNet
    controlled: type[Any]  # with it
    controlnet: type[Network]
    condition: str = "pixels"  # the value of `model.condition` with which it does the same
    image: str = "image"  # its argument for the pre image
    lora_scale: str = "cross_attention_kwargs"  # argument of both
    delivered: str | None = None  # argument of both for the size of the image before it was resized
    loading: Mapping[str, str] = field(default_factory=dict)  # further arguments of `from_pretrained`, as code
    absent: Mapping[str, Sequence[str]] = field(default_factory=dict)  # a text encoder -> its parts, None without it
    calling: Mapping[str, str] = field(default_factory=dict)  # further arguments of both, as code


class Family(ABC):
    """One kind of base."""

    name: ClassVar[str]  # in messages
    network: ClassVar[str] = "unet"  # the folder of what denoises; LoRA files name its layers by it
    text_encoders: ClassVar[tuple[str, ...]] = ("text_encoder",)  # folders; the first one's tokenizer counts tokens
    noise: ClassVar[type[Noise]]
    samplers: ClassVar[tuple[str, ...]]  # of models/samplers.py, the usual one first
    only: ClassVar[Mapping[str, Only]] = {}  # by the name of the setting
    metadata: ClassVar[bool] = False  # the denoising network is told the metadata of an image
    pipeline: ClassVar[Any]  # of diffusers, which loads a LoRA of this family
    stock: ClassVar[Stock | None] = None  # that of a ControlNet, for `pre2post publish`; None = there is none
    kohya: ClassVar[bool] = True  # a LoRA is also written for tools that are not built on diffusers

    @property
    def key(self) -> str:
        """The name of its file; checkpoints record it."""
        return type(self).__module__.rpartition(".")[2]

    # Which base it is

    @abstractmethod
    def is_of(self, folder: Path) -> bool:
        """Whether a folder, complete or not, is of this family."""

    @abstractmethod
    def check(self, folder: Path, *, instruct: bool) -> None:
        """Stop unless the parts of a base match and can be used, by their config files alone.

        Raises:
            BaseError: naming the kind of base, or the file and the field that is wrong.
        """

    @abstractmethod
    def network_class(self, part: str, config: Mapping[str, Any]) -> type[Network]:
        """The class of the VAE or the denoising network that a config file describes; text encoders: models/text.py."""

    def vae_dtype(self, config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
        """The type that the VAE computes in where `dtype` is asked for."""
        return dtype

    # Captions

    @abstractmethod
    def text_network(self, encoders: Sequence[nn.Module], base: Mapping[str, Any]) -> nn.Module:
        """The text encoders of a base as one module for `encode`; `base` is the config of what denoises."""

    @abstractmethod
    def tokenize(
        self, tokenizers: Sequence[PreTrainedTokenizerBase], texts: Sequence[str], chunks: int, index: Mapping[str, Any]
    ) -> Tensor:
        """Token ids (B, ...) int64 of captions, for `encode`; `index` is model_index.json."""

    @abstractmethod
    def encode(self, text_network: nn.Module, token_ids: Tensor) -> dict[str, Tensor]:
        """What is cached of B captions: `states` (B, T, D), and what else the networks are told of a caption."""

    # The denoising network, and what is trained beside it

    def placed(self, places: Tensor) -> dict[str, Tensor]:
        """What the networks are told of where images lie.

        Args:
            places: (B, 6) float32: height and width of the scene as delivered, px; top and left of the image in the
                scene, and the image's height and width, px of the image.
        """
        return {}

    @abstractmethod
    def new_controlnet(self, network: Network, asked: NewControlNet) -> Network:
        """A new ControlNet in float32 for the base's network, with which step 0 equals the base."""

    @abstractmethod
    def controlnet_class(self, folder: Path) -> type[Network]:
        """The class of the ControlNet in a folder."""

    @abstractmethod
    def blocks(self, controlnet: Network) -> Sequence[nn.Module]:
        """The parts of a ControlNet or T2I-Adapter that are gathered one after another when it is sharded."""

    @abstractmethod
    def control(
        self,
        controlnet: Network,
        noisy: Tensor,
        timesteps: Tensor,
        states: Tensor,
        condition: Tensor | None,
        scale: float,
        told: Told,
    ) -> dict[str, Tensor | list[Tensor]]:
        """What a ControlNet adds: arguments of the network."""

    @abstractmethod
    def predict(
        self, network: Network, noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told, added: Added
    ) -> Tensor:
        """The network's prediction; `added`: from `control`, and `lora_scale` if it is not 1."""
