"""Whether a base is of a type that can be trained on, from its config files alone, before any weights are read."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from data.documents import read_document
from models.errors import BaseError

PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
CONFIG_FILES = dict.fromkeys(("vae", "text_encoder", "unet"), "config.json") | {"scheduler": "scheduler_config.json"}
EXPECTED = "Name a Stable Diffusion 1.x or 2.x base, a DiffusionSat one, or tiny."

SETTINGS = TypeAdapter(dict[str, Any])
DEPTHS = ("layers_per_block", "transformer_layers_per_block", "num_hidden_layers")
MOST_LAYERS = 100  # Stable Diffusion 2.1: 2, 1 and 23

Config = TypeVar("Config", bound=BaseModel)


class VaeConfig(BaseModel, strict=True):
    """See AutoencoderKL. Defaults here and below are those of diffusers and transformers."""

    class_name: str = Field("AutoencoderKL", alias="_class_name")
    latent_channels: PositiveInt = 4
    block_out_channels: list[PositiveInt] = Field([64], min_length=1, max_length=8)
    scaling_factor: float = Field(0.18215, gt=0, allow_inf_nan=False)
    shift_factor: float | None = None
    latents_mean: list[float] | None = None


class TextEncoderConfig(BaseModel, strict=True):
    """See CLIPTextConfig."""

    architectures: list[str] | None = None
    hidden_size: PositiveInt = 512
    vocab_size: PositiveInt = 49408
    max_position_embeddings: PositiveInt = 77


class UNetConfig(BaseModel, strict=True):
    """See UNet2DConditionModel."""

    class_name: str = Field("UNet2DConditionModel", alias="_class_name")
    sample_size: PositiveInt
    in_channels: PositiveInt = 4
    out_channels: PositiveInt = 4
    block_out_channels: list[PositiveInt] = Field([320, 640, 1280, 1280], min_length=1, max_length=8)
    cross_attention_dim: PositiveInt | list[PositiveInt] = 1280
    addition_embed_type: str | None = None
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    encoder_hid_dim_type: str | None = None
    encoder_hid_dim: int | None = None


class SchedulerConfig(BaseModel, strict=True):
    """What the schedulers of all supported bases have in common."""

    class_name: str = Field("", alias="_class_name")
    num_train_timesteps: int = Field(1000, ge=2, le=100_000)
    prediction_type: str = "epsilon"
    beta_start: float = Field(0.0001, ge=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[float] | None = None


def check_config(folder: Path, *, instruct: bool = False) -> None:
    """Stop unless the parts of a base match and are supported by training and generation.

    Args:
        folder: of the base.
        instruct: an InstructPix2Pix model is wanted: its UNet reads two images' latents.

    Raises:
        BaseError: naming what kind of base it is, or the file and the field that is wrong.
    """
    if (folder / "transformer").is_dir():
        raise _unfit(folder / "transformer", "a diffusion transformer (Stable Diffusion 3, Flux, PixArt), with no UNet")
    if missing := [f"{part}/" for part in PARTS if not (folder / part).is_dir()]:
        single = [path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".ckpt")]
        raise BaseError(
            f"{folder}: not a complete diffusers folder, it lacks {', '.join(missing)}. "
            + (single_file_advice(folder / single[0]) if single else "Copy the whole folder again, or name another.")
        )
    vae = read_config(folder, "vae", VaeConfig)
    text = read_config(folder, "text_encoder", TextEncoderConfig)
    unet = read_config(folder, "unet", UNetConfig)
    _check_scheduler(folder, read_config(folder, "scheduler", SchedulerConfig))
    _check_vae(folder, vae)
    _check_unet(folder, unet)
    _check_channels(folder, unet.in_channels, vae.latent_channels, instruct)
    if unet.out_channels != vae.latent_channels:
        raise _unfit(
            _path(folder, "unet"),
            f"out_channels {unet.out_channels}, but the VAE has {vae.latent_channels} latent channels",
        )
    if text.architectures and not any(name.startswith("CLIPTextModel") for name in text.architectures):
        raise _unfit(_path(folder, "text_encoder"), f"a base whose text encoder is {text.architectures[0]}, not CLIP's")
    widths = unet.cross_attention_dim if isinstance(unet.cross_attention_dim, list) else [unet.cross_attention_dim]
    if set(widths) != {text.hidden_size}:
        raise BaseError(
            f"{_path(folder, 'unet')}: cross_attention_dim is {unet.cross_attention_dim}, but the text encoder's "
            f"hidden_size is {text.hidden_size}: they belong to different bases. {EXPECTED}"
        )


def read_config(folder: Path, part: str, kind: type[Config]) -> Config:
    """The fields of one part's config file that decide whether the base can be used."""
    path = _path(folder, part)
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(at) for at in first["loc"])
        raise BaseError(
            f"{path}: {field} is {first['input']!r:.60}. {first['msg']}. Copy the file again from where the base came."
        ) from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of settings, none of which makes a network too deep to build quickly."""
    settings = read_document(path, SETTINGS, "Copy the whole folder again.", BaseError)
    for name in DEPTHS:
        if _deepest(settings.get(name)) > MOST_LAYERS:
            raise BaseError(f"{path}: {name} is above {MOST_LAYERS}. Copy the file again from where the base came.")
    return settings


def _deepest(layers: object) -> float:
    if isinstance(layers, list):
        return max(map(_deepest, layers), default=0)
    return layers if isinstance(layers, int | float) else 0


def single_file_advice(path: Path) -> str:
    """How a checkpoint in one file becomes a folder."""
    return (
        f"{path.name} is a checkpoint in a single file. Make a folder of it first: "
        f'python -c "from diffusers import StableDiffusionPipeline as P; '
        f"P.from_single_file('{path}').save_pretrained('{path.with_suffix('')}')\""
    )


def _check_scheduler(folder: Path, scheduler: SchedulerConfig) -> None:
    path = _path(folder, "scheduler")
    if "Flow" in scheduler.class_name or "flow" in scheduler.prediction_type:
        raise _unfit(path, f"a flow-matching base ({scheduler.class_name}, {scheduler.prediction_type})")
    if scheduler.prediction_type not in ("epsilon", "v_prediction", "sample"):
        raise BaseError(
            f"{path}: prediction_type is {scheduler.prediction_type!r}; expected epsilon, v_prediction or sample. "
            f"{EXPECTED}"
        )
    if scheduler.trained_betas is not None and len(scheduler.trained_betas) != scheduler.num_train_timesteps:
        raise BaseError(
            f"{path}: {len(scheduler.trained_betas)} trained_betas for {scheduler.num_train_timesteps} timesteps. "
            "Copy it again."
        )


def _check_vae(folder: Path, vae: VaeConfig) -> None:
    path = _path(folder, "vae")
    if vae.class_name != "AutoencoderKL":
        raise _unfit(path, f"a base whose autoencoder is {vae.class_name}, not AutoencoderKL")
    if vae.shift_factor or vae.latents_mean:
        raise _unfit(path, "a base whose latents are shifted (shift_factor or latents_mean)")


def _check_unet(folder: Path, unet: UNetConfig) -> None:
    path = _path(folder, "unet")
    if unet.class_name not in ("UNet2DConditionModel", "SatUNet"):
        raise _unfit(path, f"a base whose denoiser is {unet.class_name}")
    if unet.addition_embed_type == "text_time" or (folder / "text_encoder_2").is_dir():
        raise _unfit(path, "a base of the SDXL kind (Stable Diffusion XL: two text encoders, embeddings of the size)")
    for name in ("addition_embed_type", "encoder_hid_dim_type", "encoder_hid_dim"):
        if (value := getattr(unet, name)) is not None:
            raise _unfit(path, f"a base whose UNet takes further embeddings ({name} {value})")
    for name in ("class_embed_type", "num_class_embeds"):
        if (value := getattr(unet, name)) is not None:
            raise _unfit(path, f"a base whose UNet takes class labels, such as an upscaler or unCLIP ({name} {value})")


def _check_channels(folder: Path, takes: int, latents: int, instruct: bool) -> None:
    """The inputs of a UNet besides the noisy latents show its type."""
    if takes == latents * (1 + instruct):
        return
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
    raise _unfit(_path(folder, "unet"), f"{kind}: its UNet takes {takes} channels, and its VAE has {latents}")


def _path(folder: Path, part: str) -> Path:
    return folder / part / CONFIG_FILES[part]


def _unfit(path: Path, kind: str) -> BaseError:
    return BaseError(f"{path}: {kind}. It cannot be used here. {EXPECTED}")
