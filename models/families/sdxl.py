"""Stable Diffusion XL and its Turbo: two text encoders, a pooled caption, and where in its scene an image lies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, StableDiffusionXLPipeline
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from models.base_config import (
    TextEncoderConfig,
    UNetConfig,
    check_diffusion,
    check_parts,
    check_vae,
    config_path,
    read_config,
    read_json,
)
from models.errors import UnfitBase
from models.families.family import Only, Stock, Told
from models.families.stable_diffusion import StableDiffusion, check_channels
from models.text import tokenize

PARTS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
EMPTY = -1  # all token ids of an empty caption whose states are zeros
NUMBERS = 6  # of a place
OWN = "DiffusionSat's ControlNets are not made for its UNet"


class Sdxl(StableDiffusion):
    """A UNet that is also told the pooled caption and six numbers (Podell et al. 2023, section 2.2)."""

    name = "Stable Diffusion XL"
    text_encoders = ("text_encoder", "text_encoder_2")
    pipeline = StableDiffusionXLPipeline
    stock = Stock(
        alone=StableDiffusionXLPipeline,
        controlled=StableDiffusionXLControlNetPipeline,
        controlnet=ControlNetModel,
        loading={"add_watermarker": "False"},
        delivered="original_size",
    )
    only: ClassVar[Mapping[str, Only]] = {
        **StableDiffusion.only,
        "model.trained": (
            ("controlnet", "controlnet-lora", "t2i-adapter", "lora", "controlnet+lora"),
            "concatenated latents were not tried on its UNet, and diffusers has no light T2I-Adapter for it",
        ),
        "model.controlnet": (("2d",), OWN),
        "model.metadata": (("base", "none"), OWN),
    }

    def is_of(self, folder: Path) -> bool:
        """It has a second text encoder, or a UNet that is told sizes."""
        path = config_path(folder, "unet")
        told = path.is_file() and read_json(path).get("addition_embed_type") == "text_time"
        return super().is_of(folder) and (told or (folder / "text_encoder_2").is_dir())

    def check(self, folder: Path, *, instruct: bool) -> None:
        """Widths fit: states of both encoders side by side; the second one's pooled caption beside six numbers."""
        path, unet = config_path(folder, "unet"), read_config(folder, "unet", UNetConfig)
        if not (folder / "text_encoder_2").is_dir():
            raise UnfitBase(f"{path}: a UNet of SDXL (addition_embed_type text_time), but without text_encoder_2/.")
        check_parts(folder, PARTS)
        first, second = (read_config(folder, part, TextEncoderConfig) for part in self.text_encoders)
        check_diffusion(folder)
        if instruct:
            raise UnfitBase(f"{path}: a base of Stable Diffusion XL, no InstructPix2Pix model of Stable Diffusion.")
        check_channels(folder, unet, check_vae(folder).latent_channels, instruct)
        width, told = first.hidden_size + second.hidden_size, second.projection_dim
        if unet.cross_attention_dim != width:
            raise UnfitBase(
                f"{path}: cross_attention_dim is {unet.cross_attention_dim}, but the text encoders' hidden_size are "
                f"{first.hidden_size} and {second.hidden_size}: they belong to different bases."
            )
        expected = told + NUMBERS * (unet.addition_time_embed_dim or 0)
        if unet.addition_embed_type != "text_time" or unet.projection_class_embeddings_input_dim != expected:
            raise UnfitBase(
                f"{path}: a UNet that is told something else than six numbers of addition_time_embed_dim and the "
                f"pooled caption of text_encoder_2, {expected} numbers in all (a refiner is)."
            )

    def vae_dtype(self, config: Mapping[str, Any], dtype: torch.dtype) -> torch.dtype:
        """Its VAE overflows in float16, unless `force_upcast` says that it was made for it."""
        return torch.float32 if dtype == torch.float16 and config.get("force_upcast", True) else dtype

    def text_network(self, encoders: Sequence[nn.Module], base: Mapping[str, Any]) -> nn.Module:
        """Both encoders."""
        return nn.ModuleList(encoders)

    def tokenize(
        self, tokenizers: Sequence[PreTrainedTokenizerBase], texts: Sequence[str], chunks: int, index: Mapping[str, Any]
    ) -> Tensor:
        """(B, 2, chunks, 77); EMPTY for an empty caption if zeros stand for it, as its index says."""
        token_ids = torch.stack([tokenize(tokenizer, texts, chunks) for tokenizer in tokenizers], 1)
        if index.get("force_zeros_for_empty_prompt", True):
            token_ids[torch.tensor([not text for text in texts])] = EMPTY
        return token_ids

    def encode(self, text_network: nn.Module, token_ids: Tensor) -> dict[str, Tensor]:
        """Of both encoders the last states but one, side by side; of the second the pooled first chunk."""
        return clip_states(list(text_network.children()), token_ids, pooled_of=slice(1, 2))

    def placed(self, places: Tensor) -> dict[str, Tensor]:
        """The very numbers."""
        return {"time_ids": places}

    def arguments(self, told: Told) -> dict[str, Any]:
        """Of UNet and ControlNet alike."""
        return {"added_cond_kwargs": {"text_embeds": told["pooled"], "time_ids": told["time_ids"]}}


def clip_states(encoders: Sequence[nn.Module], token_ids: Tensor, *, pooled_of: slice) -> dict[str, Tensor]:
    """`states` (B, chunks * 77, D) of CLIP encoders side by side, and `pooled` (B, P) of some of them.

    Args:
        encoders: each reads its own ids.
        token_ids: (B, encoders, chunks, 77).
        pooled_of: which encoders.
    """
    empty = (token_ids == EMPTY).flatten(1).all(1)
    count, chunks = len(token_ids), token_ids.shape[2]
    read = token_ids.clamp(min=0).transpose(0, 1).flatten(1, 2)
    out = [encoder(ids, output_hidden_states=True) for encoder, ids in zip(encoders, read, strict=True)]
    states = torch.cat([each.hidden_states[-2] for each in out], -1).view(count, chunks * token_ids.shape[3], -1)
    pooled = torch.cat([each.text_embeds for each in out[pooled_of]], -1).view(count, chunks, -1)[:, 0]
    return {"states": states.masked_fill(empty[:, None, None], 0), "pooled": pooled.masked_fill(empty[:, None], 0)}
