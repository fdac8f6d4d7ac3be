"""The config files of a base, and the checks of them that families share, before any weights are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from data.documents import read_document
from models.errors import BaseError, UnfitBase

SETTINGS = TypeAdapter(dict[str, Any])
DEPTHS = ("layers_per_block", "transformer_layers_per_block", "num_hidden_layers", "num_layers")
PREDICTED = ("epsilon", "v_prediction", "sample")  # by networks trained by denoising diffusion
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

    hidden_size: PositiveInt = 512
    vocab_size: PositiveInt = 49408
    max_position_embeddings: PositiveInt = 77
    projection_dim: PositiveInt = 512
    project_dim: PositiveInt = 512  # of AltDiffusion's


class T5Config(BaseModel, strict=True):
    """See transformers' T5Config."""

    d_model: PositiveInt = 512


class TransformerConfig(BaseModel, strict=True):
    """See SD3Transformer2DModel."""

    sample_size: PositiveInt
    in_channels: PositiveInt = 16
    out_channels: PositiveInt = 16
    num_layers: int = Field(18, ge=2)
    joint_attention_dim: PositiveInt = 4096
    pooled_projection_dim: PositiveInt = 2048


class FlowConfig(BaseModel, strict=True):
    """See FlowMatchEulerDiscreteScheduler."""

    class_name: str = Field("", alias="_class_name")
    num_train_timesteps: int = Field(1000, ge=2, le=100_000)
    shift: float = Field(1.0, gt=0, allow_inf_nan=False)
    use_dynamic_shifting: bool = False


class UNetConfig(BaseModel, strict=True):
    """See UNet2DConditionModel."""

    class_name: str = Field("UNet2DConditionModel", alias="_class_name")
    sample_size: PositiveInt
    in_channels: PositiveInt = 4
    out_channels: PositiveInt = 4
    block_out_channels: list[PositiveInt] = Field([320, 640, 1280, 1280], min_length=1, max_length=8)
    cross_attention_dim: PositiveInt | list[PositiveInt] = 1280
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    class_embed_type: str | None = None
    num_class_embeds: int | None = None
    encoder_hid_dim_type: str | None = None
    encoder_hid_dim: int | None = None
    time_cond_proj_dim: int | None = None


class SchedulerConfig(BaseModel, strict=True):
    """What the schedulers of bases trained by denoising diffusion have in common."""

    class_name: str = Field("", alias="_class_name")
    num_train_timesteps: int = Field(1000, ge=2, le=100_000)
    prediction_type: str = "epsilon"
    beta_start: float = Field(0.0001, ge=0, lt=1)
    beta_end: float = Field(0.02, gt=0, lt=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "linear"
    trained_betas: list[float] | None = None


def check_parts(folder: Path, parts: Sequence[str]) -> None:
    """Stop unless a base has the folders of all its parts."""
    if missing := [f"{part}/" for part in parts if not (folder / part).is_dir()]:
        single = [path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".ckpt")]
        raise BaseError(
            f"{folder}: not a complete diffusers folder, it lacks {', '.join(missing)}. "
            + (single_file_advice(folder / single[0]) if single else "Copy the whole folder again, or name another.")
        )


def check_diffusion(folder: Path) -> None:
    """Stop unless the schedule is one of denoising diffusion."""
    path, scheduler = config_path(folder, "scheduler"), read_config(folder, "scheduler", SchedulerConfig)
    if "Flow" in scheduler.class_name or "flow" in scheduler.prediction_type:
        raise UnfitBase(f"{path}: a flow-matching base ({scheduler.class_name}, {scheduler.prediction_type}).")
    if scheduler.prediction_type not in PREDICTED:
        raise UnfitBase(f"{path}: prediction_type is {scheduler.prediction_type!r}; expected {', '.join(PREDICTED)}.")
    if scheduler.trained_betas is not None and len(scheduler.trained_betas) != scheduler.num_train_timesteps:
        raise BaseError(
            f"{path}: {len(scheduler.trained_betas)} trained_betas for {scheduler.num_train_timesteps} timesteps. "
            "Copy it again."
        )


def check_vae(folder: Path, *, shifted: bool = False) -> VaeConfig:
    """The VAE's config, if it is of the class that is read here; `shifted`: its latents may be."""
    path, vae = config_path(folder, "vae"), read_config(folder, "vae", VaeConfig)
    if vae.class_name != "AutoencoderKL":
        raise UnfitBase(f"{path}: a base whose autoencoder is {vae.class_name}, not AutoencoderKL.")
    if vae.latents_mean or (vae.shift_factor and not shifted):
        raise UnfitBase(f"{path}: a base whose latents are shifted (shift_factor or latents_mean).")
    return vae


def read_config(folder: Path, part: str, kind: type[Config]) -> Config:
    """The fields of one part's config file that decide whether the base can be used."""
    path = config_path(folder, part)
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


def config_path(folder: Path, part: str) -> Path:
    """The config file of a part."""
    return folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
