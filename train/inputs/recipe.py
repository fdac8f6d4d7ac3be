"""What an example depends on besides the data: values of config and base."""

from dataclasses import dataclass

from datasets import Dataset
from diffusers import DDPMScheduler

from data.examples.condition import Condition, condition_of
from models.base import Base
from train.config import Config
from train.config_checks import DAMAGE_CLASSES
from train.errors import ConfigError
from train.stages import Stage


@dataclass(frozen=True)
class Recipe:
    """Everything that an example depends on besides the data: plain values of config and base."""

    seed: int
    resolution: int  # px
    latent_shape: tuple[int, int, int]
    scaling_factor: float  # of the VAE
    num_train_timesteps: int
    caption_dropout: float
    noise_offset: float
    input_perturbation: float
    condition: Condition
    sequence: int  # pre-event images in the condition
    show_latents: float | None  # the condition is latents, times this; None = pixels
    damage_weights: list[float] | None  # of the mask values 0 to 4


def recipe_of(config: Config, base: Base, schedule: DDPMScheduler, resolution: int) -> Recipe:
    """The values of config and base that an example depends on."""
    model, objective, vae = config.model, config.objective, base.config("vae")
    scaling_factor = float(vae.get("scaling_factor", 0.18215))
    side = resolution // base.vae_scale_factor
    condition = condition_of(model.trained, model.condition)
    return Recipe(
        seed=config.train.seed,
        resolution=resolution,
        latent_shape=(int(vae["latent_channels"]), side, side),
        scaling_factor=scaling_factor,
        num_train_timesteps=schedule.config.num_train_timesteps,
        caption_dropout=config.data.caption_dropout,
        noise_offset=objective.noise_offset,
        input_perturbation=objective.input_perturbation,
        condition=condition,
        sequence=config.data.sequence,
        # InstructPix2Pix concatenates unscaled latents.
        show_latents=(1.0 if model.trained == "lora+concat" else scaling_factor) if condition.latents else None,
        damage_weights=[objective.damage_weights.get(name, 1.0) for name in DAMAGE_CLASSES]
        if objective.damage_weights
        else None,
    )


def resolution_of(stage: Stage, dataset: Dataset) -> int:
    """Side that patches are resized to, px."""
    if stage.resolution:
        return stage.resolution
    sizes = set(dataset["size"][:])
    if len(sizes) > 1:
        raise ConfigError(
            f"{stage.dataset} has patches of {sorted(sizes)} px. Set data.resolution to resize all to one size."
        )
    return int(sizes.pop())


def patch_px_of(dataset: Dataset) -> int | None:
    """Side that the patches of a dataset were built with, px; None if it varies."""
    sizes = set(dataset["size"][:])
    return int(sizes.pop()) if len(sizes) == 1 else None
