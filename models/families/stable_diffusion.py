"""Stable Diffusion 1.x and 2.x, its Turbo and what was fine-tuned from it: one text encoder, a UNet, diffusion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    T2IAdapter,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from models.base_config import (
    TextEncoderConfig,
    UNetConfig,
    VaeConfig,
    check_diffusion,
    check_parts,
    check_vae,
    config_path,
    read_config,
)
from models.controlnet import controlnet_from_unet
from models.diffusionsat.controlnet import SatControlNet
from models.diffusionsat.controlnet_3d import SatControlNet3D
from models.diffusionsat.embedding import takes_metadata
from models.diffusionsat.kind import controlnet_class
from models.errors import BaseError, UnfitBase
from models.families.family import Added, Family, Network, NewControlNet, Only, Stock, Told
from models.families.noise import Diffusion
from models.samplers import DIFFUSION
from models.text import encode_text, text_class, tokenize

PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


class StableDiffusion(Family):
    """A UNet that is told the caption by cross-attention; also the frame of the other families with UNets."""

    name = "Stable Diffusion 1.x or 2.x"
    noise = Diffusion
    samplers = DIFFUSION
    pipeline = StableDiffusionPipeline
    stock: ClassVar[Stock | None] = Stock(
        alone=StableDiffusionPipeline,
        controlled=StableDiffusionControlNetPipeline,
        controlnet=ControlNetModel,
        loading={"safety_checker": "None"},
    )
    class_embedding: ClassVar[str | None] = None  # of its UNet
    only: ClassVar[Mapping[str, Only]] = {"model.controlnet_blocks": ((None,), "all of a UNet's encoder is copied")}

    def is_of(self, folder: Path) -> bool:
        """Whatever has no transformer: `check` says what it is."""
        return not (folder / "transformer").is_dir()

    def check(self, folder: Path, *, instruct: bool) -> None:
        """One VAE, one text encoder, and a UNet that takes the latents, the timestep and the caption alone."""
        check_parts(folder, PARTS)
        vae = read_config(folder, "vae", VaeConfig)
        text = read_config(folder, "text_encoder", TextEncoderConfig)
        unet = read_config(folder, "unet", UNetConfig)
        check_diffusion(folder)
        check_vae(folder)
        check_unet(folder, unet, self.class_embedding)
        check_channels(folder, unet, vae.latent_channels, instruct)
        kind = text_class(folder, "text_encoder")
        width = text.project_dim if kind == "RobertaSeriesModelWithTransformation" else text.hidden_size
        if kind == "T5EncoderModel":
            raise UnfitBase(f"{config_path(folder, 'text_encoder')}: a base whose text encoder is {kind}.")
        widths = unet.cross_attention_dim if isinstance(unet.cross_attention_dim, list) else [unet.cross_attention_dim]
        if set(widths) != {width}:
            raise UnfitBase(
                f"{config_path(folder, 'unet')}: cross_attention_dim is {unet.cross_attention_dim}, but the text "
                f"encoder's hidden_size is {width}: they belong to different bases."
            )

    def network_class(self, part: str, config: Mapping[str, Any]) -> type[Network]:
        """Of diffusers."""
        kind: type[Network] = {"vae": AutoencoderKL, "unet": UNet2DConditionModel}[part]
        return kind

    def text_network(self, encoders: Sequence[nn.Module], base: Mapping[str, Any]) -> nn.Module:
        """The one encoder."""
        return encoders[0]

    def tokenize(
        self, tokenizers: Sequence[PreTrainedTokenizerBase], texts: Sequence[str], chunks: int, index: Mapping[str, Any]
    ) -> Tensor:
        """(B, chunks, 77)."""
        return tokenize(tokenizers[0], texts, chunks)

    def encode(self, text_network: nn.Module, token_ids: Tensor) -> dict[str, Tensor]:
        """The last hidden states alone."""
        return {"states": encode_text(text_network, token_ids)}

    def new_controlnet(self, network: Network, asked: NewControlNet) -> ControlNetModel:
        """A copy of the encoder; DiffusionSat's kinds of ControlNet work beside any UNet."""
        if (attention := asked.kind == "3d+attention") and (width := network.config.block_out_channels[0]) % 32:
            raise BaseError(
                "model.controlnet is 3d+attention, whose attention needs 32 groups of channels; the base starts with "
                f"{width}. Choose 3d, or a base with a multiple of 32."
            )
        kind: type[ControlNetModel] = SatControlNet if asked.metadata else ControlNetModel
        settings: dict[str, Any] = {"null_metadata": asked.null_metadata} if asked.metadata else {}
        if asked.kind != "2d":
            kind = SatControlNet3D
            settings |= {"use_metadata": asked.metadata, "use_temporal_transformer": attention}
        return controlnet_from_unet(
            network,
            vae_scale_factor=asked.vae_scale_factor,
            seed=asked.seed,
            kind=kind,
            latents=asked.latents,
            conditioning_channels=asked.conditioning_channels,
            **settings,
        )

    def controlnet_class(self, folder: Path) -> type[ControlNetModel]:
        """Diffusers' own, or one of DiffusionSat's."""
        return controlnet_class(folder)

    def blocks(self, controlnet: Network) -> Sequence[nn.Module]:
        """Levels of the encoder, and the middle; of a T2I-Adapter its levels."""
        if isinstance(controlnet, T2IAdapter):
            return list(controlnet.adapter.body)
        return [*controlnet.down_blocks, controlnet.mid_block]

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
        """Residuals of the encoder's levels and of the middle."""
        metadata = {name: told.get(name) for name in ("metadata", "cond_metadata")}
        down, mid = controlnet(
            noisy,
            timesteps,
            states,
            condition,
            conditioning_scale=scale,
            return_dict=False,
            **(metadata if takes_metadata(controlnet) else {}),
            **self.arguments(told),
        )
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}

    def predict(
        self, network: Network, noisy: Tensor, timesteps: Tensor, states: Tensor, told: Told, added: Added
    ) -> Tensor:
        """Of the UNet."""
        arguments = self.arguments(told) | {name: value for name, value in added.items() if name != "lora_scale"}
        if "lora_scale" in added:
            arguments["cross_attention_kwargs"] = {"scale": added["lora_scale"]}
        predicted: Tensor = network(noisy, timesteps, states, return_dict=False, **arguments)[0]
        return predicted

    def arguments(self, told: Told) -> dict[str, Any]:
        """Further arguments of both UNet and ControlNet."""
        return {}


def check_unet(folder: Path, unet: UNetConfig, class_embedding: str | None) -> None:
    """Stop if a UNet takes anything besides noisy latents, timestep, text states, and labels of the family's kind."""
    path = config_path(folder, "unet")
    if unet.class_name not in ("UNet2DConditionModel", "SatUNet"):
        raise UnfitBase(f"{path}: a base whose denoiser is {unet.class_name}.")
    for name in ("addition_embed_type", "encoder_hid_dim_type", "encoder_hid_dim", "time_cond_proj_dim"):
        if (value := getattr(unet, name)) is not None:
            raise UnfitBase(f"{path}: a base whose UNet takes further embeddings ({name} {value}).")
    for name in ("class_embed_type", "num_class_embeds"):
        if (value := getattr(unet, name)) not in (None, class_embedding):
            raise UnfitBase(
                f"{path}: a base whose UNet takes class labels, such as an upscaler or unCLIP ({name} {value})."
            )


def check_channels(folder: Path, unet: UNetConfig, latents: int, instruct: bool) -> None:
    """The inputs of a UNet besides the noisy latents show its type."""
    path, takes = config_path(folder, "unet"), unet.in_channels
    if takes != latents * (1 + instruct):
        kinds = {
            latents + 1: "a base that is also conditioned on depth (Stable Diffusion 2 depth)",
            2 * latents: "an InstructPix2Pix model",
            2 * latents + 1: "an inpainting base",
        }
        if instruct:
            raise BaseError(
                f"{folder} is no InstructPix2Pix model: its UNet takes {takes} channels, not the {2 * latents} of two "
                "images' latents."
            )
        kind = kinds.get(takes, "a base of an unknown kind")
        raise UnfitBase(f"{path}: {kind}: its UNet takes {takes} channels, and its VAE has {latents}.")
    if unet.out_channels != latents:
        raise UnfitBase(f"{path}: out_channels {unet.out_channels}, but the VAE has {latents} latent channels.")
