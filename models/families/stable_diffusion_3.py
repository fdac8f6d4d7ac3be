"""Stable Diffusion 3 and 3.5: a transformer, rectified flow, and two or three text encoders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Pipeline,
)
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from models.base_config import (
    FlowConfig,
    T5Config,
    TextEncoderConfig,
    TransformerConfig,
    check_parts,
    check_vae,
    config_path,
    read_config,
    read_json,
)
from models.errors import BaseError, UnfitBase
from models.families.family import Added, Family, Network, NewControlNet, Only, Stock, Told
from models.families.noise import RectifiedFlow
from models.families.sdxl import clip_states
from models.text import tokenize

PARTS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "scheduler")
T5, T5_TOKENIZER = "text_encoder_3", "tokenizer_3"
COPIED = ("pos_embed", "time_text_embed", "context_embedder")  # whole, besides the blocks
PASSED_ON = ("ff_context.", "attn.to_add_out.")
OWN = "there are ControlNets of its own only"


class StableDiffusion3(Family):
    """A transformer over latents and caption (Esser et al. 2024); its ControlNet reads the latents of the pre image."""

    name = "Stable Diffusion 3 or 3.5"
    network = "transformer"
    text_encoders = ("text_encoder", "text_encoder_2", T5)
    noise = RectifiedFlow
    samplers = ("flow-euler",)
    pipeline = StableDiffusion3Pipeline
    stock = Stock(
        alone=StableDiffusion3Pipeline,
        controlled=StableDiffusion3ControlNetPipeline,
        controlnet=SD3ControlNetModel,
        condition="latents",
        image="control_image",
        lora_scale="joint_attention_kwargs",
        absent={T5: (T5, T5_TOKENIZER)},
        calling={"max_sequence_length": "77"},
    )
    kohya = False
    only: ClassVar[Mapping[str, Only]] = {
        "model.trained": (
            ("controlnet", "controlnet-lora", "lora", "controlnet+lora"),
            "a transformer takes no concatenated latents, and diffusers has no T2I-Adapter for it",
        ),
        "model.condition": (("latents",), "its ControlNet reads the VAE's latents of the pre image"),
        "model.controlnet": (("2d",), OWN),
        "model.metadata": (("base", "none"), OWN),
        "objective.zero_terminal_snr": ((False,), "a rectified flow ends in pure noise anyway"),
    }

    def is_of(self, folder: Path) -> bool:
        """Its transformer says so."""
        path = config_path(folder, self.network)
        return path.is_file() and read_json(path).get("_class_name") == "SD3Transformer2DModel"

    def check(self, folder: Path, *, instruct: bool) -> None:
        """Channels and widths fit; T5 is there whole, or not at all."""
        check_parts(folder, PARTS)
        path, transformer = config_path(folder, self.network), read_config(folder, self.network, TransformerConfig)
        clip = [read_config(folder, part, TextEncoderConfig) for part in self.text_encoders[:2]]
        vae, flow = check_vae(folder, shifted=True), read_config(folder, "scheduler", FlowConfig)
        if instruct:
            raise UnfitBase(f"{path}: a base of Stable Diffusion 3, no InstructPix2Pix model of Stable Diffusion.")
        if flow.class_name != "FlowMatchEulerDiscreteScheduler" or flow.use_dynamic_shifting:
            raise UnfitBase(
                f"{config_path(folder, 'scheduler')}: {flow.class_name}, use_dynamic_shifting "
                f"{flow.use_dynamic_shifting}; expected FlowMatchEulerDiscreteScheduler with a fixed shift."
            )
        _check_t5(folder, transformer.joint_attention_dim)
        for field, found, expected in (
            ("in_channels", transformer.in_channels, vae.latent_channels),
            ("out_channels", transformer.out_channels, vae.latent_channels),
            ("pooled_projection_dim", transformer.pooled_projection_dim, sum(text.projection_dim for text in clip)),
        ):
            if found != expected:
                raise UnfitBase(f"{path}: {field} is {found}, but VAE and text encoders have {expected}.")
        if (width := sum(text.hidden_size for text in clip)) > transformer.joint_attention_dim:
            raise UnfitBase(f"{path}: joint_attention_dim {transformer.joint_attention_dim} is below CLIP's {width}.")

    def network_class(self, part: str, config: Mapping[str, Any]) -> type[Network]:
        """Of diffusers."""
        kind: type[Network] = {"vae": AutoencoderKL, "transformer": SD3Transformer2DModel}[part]
        return kind

    def text_network(self, encoders: Sequence[nn.Module], base: Mapping[str, Any]) -> nn.Module:
        """All encoders, and the width that the transformer reads."""
        network = nn.ModuleList(encoders)
        network.width = int(base["joint_attention_dim"])  # type: ignore[assignment]
        return network

    def tokenize(
        self, tokenizers: Sequence[PreTrainedTokenizerBase], texts: Sequence[str], chunks: int, index: Mapping[str, Any]
    ) -> Tensor:
        """(B, (2 or 3) * chunks * 77): of both CLIP tokenizers, then of T5's, which is not cut into chunks."""
        clip = [tokenize(tokenizer, texts, chunks).flatten(1) for tokenizer in tokenizers[:2]]
        length = clip[0].shape[1]
        t5 = [
            tokenizer(
                list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
            ).input_ids
            for tokenizer in tokenizers[2:]
        ]
        return torch.cat([*clip, *t5], 1)

    def encode(self, text_network: nn.Module, token_ids: Tensor) -> dict[str, Tensor]:
        """CLIP's states padded with zeros to the width of T5's, then T5's, zeros without it; the pooled captions."""
        clip, t5 = list(text_network.children())[:2], list(text_network.children())[2:]
        parts, width = token_ids.unflatten(1, (2 + len(t5), -1)), int(text_network.width)  # type: ignore[arg-type]
        piece = int(clip[0].config.max_position_embeddings)  # type: ignore[union-attr, arg-type]
        found = clip_states(clip, parts[:, :2].unflatten(2, (-1, piece)), pooled_of=slice(0, 2))
        states = F.pad(found["states"], (0, width - found["states"].shape[-1]))
        long = t5[0](parts[:, 2])[0] if t5 else torch.zeros_like(states)
        return {"states": torch.cat([states, long.to(states.dtype)], 1), "pooled": found["pooled"]}

    def new_controlnet(self, network: Network, asked: NewControlNet) -> SD3ControlNetModel:
        """The first blocks copied; both the projection of the condition and every output are zero."""
        # from_transformer would write into the config of the base, and expect a channel more than latents have.
        most = network.config.num_layers - 1
        blocks = asked.blocks or (most + 1) // 2
        if not 1 <= blocks <= most:
            raise BaseError(
                f"model.controlnet_blocks is {blocks}; expected 1 to {most}: the last of the {most + 1} blocks has no "
                "caption to pass on."
            )
        config = dict(network.config) | {
            "num_layers": blocks,
            "extra_conditioning_channels": 0,
            "force_zeros_for_pooled_projection": False,  # told the same caption and latents as the base
        }
        controlnet = SD3ControlNetModel.from_config(config)
        for part in COPIED:
            getattr(controlnet, part).load_state_dict(getattr(network, part).state_dict())
        for mine, theirs in zip(controlnet.transformer_blocks, network.transformer_blocks, strict=False):
            mine.load_state_dict(theirs.state_dict())
        # Nobody reads the caption that the last block passes on; DDP would wait for gradients of what makes it.
        for name, weight in controlnet.transformer_blocks[-1].named_parameters():
            weight.requires_grad_(not name.startswith(PASSED_ON))
        return controlnet.float()

    def controlnet_class(self, folder: Path) -> type[Network]:
        """Diffusers' own."""
        return SD3ControlNetModel  # type: ignore[no-any-return]

    def blocks(self, controlnet: Network) -> Sequence[nn.Module]:
        """Of the transformer."""
        return list(controlnet.transformer_blocks)

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
        """Residuals of the blocks."""
        residuals = controlnet(
            controlnet_cond=condition, conditioning_scale=scale, **_arguments(noisy, timesteps, states, told)
        )[0]
        return {"block_controlnet_hidden_states": residuals}

    def predict(
        self, network: Network, noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told, added: Added
    ) -> Tensor:
        """Of the transformer."""
        arguments = {name: value for name, value in added.items() if name != "lora_scale"}
        if "lora_scale" in added:
            arguments["joint_attention_kwargs"] = {"scale": added["lora_scale"]}
        predicted: Tensor = network(**_arguments(noisy, timesteps, states, told), **arguments)[0]
        return predicted


def _arguments(noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told) -> dict[str, Any]:
    return {
        "hidden_states": noisy,
        "timestep": timesteps.expand(len(noisy)),
        "encoder_hidden_states": states,
        "pooled_projections": told["pooled"].to(states.dtype),
        "return_dict": False,
    }


def _check_t5(folder: Path, width: int) -> None:
    index = folder / "model_index.json"
    named = index.is_file() and any(read_json(index).get(T5) or ())
    there = [part for part in (T5, T5_TOKENIZER) if (folder / part).is_dir()]
    if (named or there) and len(there) < 2:
        missing = T5_TOKENIZER if T5 in there else T5
        raise BaseError(
            f"{folder}: not a complete base, it lacks {missing}/ of T5. Copy it too; or, to train without T5, have "
            f"neither {T5} nor {T5_TOKENIZER}, and [null, null] for both in model_index.json."
        )
    if there and (found := read_config(folder, T5, T5Config).d_model) != width:
        raise UnfitBase(f"{config_path(folder, T5)}: d_model is {found}, but the transformer reads states of {width}.")
