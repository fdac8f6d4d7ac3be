"""What an example depends on besides the data: values of config and base."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image
from torch import Tensor

from data.examples.condition import Condition, condition_of
from data.imagery.pixels import resize_mask
from models.base import Base
from models.families.noise import Noise
from models.images import LatentScale, condition_latents
from train.config import Config, DataConfig
from train.config_checks import DAMAGE_CLASSES
from train.errors import ConfigError
from train.inputs.views import View, mirror
from train.stages import Stage

PATCHES_READ = 32  # for an example of a caption


@dataclass(frozen=True)
class Recipe:
    """Everything that an example depends on besides the data: plain values of config and base."""

    seed: int
    resolution: int  # px
    latent_shape: tuple[int, int, int]
    latents: LatentScale  # of the VAE
    draw_timestep: Callable[[np.random.Generator], int]
    caption_dropout: float
    noise_offset: float
    input_perturbation: float
    condition: Condition
    placed: Callable[[Tensor], dict[str, Tensor]]  # what networks are told of where an image lies
    sequence: int  # pre-event images in the condition
    show_latents: LatentScale | None  # the condition is latents, scaled so; None = pixels
    damage_weights: list[float] | None  # of the mask values 0 to 4

    def beside(self, latents: Tensor, mask: Image.Image, view: View) -> Tensor:
        """Latents of a view's image, (C, h, w), with what the condition shows of its damage mask."""
        classes = resize_mask(mask, self.resolution)
        unread = np.zeros((*classes.shape, 3), np.uint8)  # pixels, whose latents these are
        shown = mirror(self.condition.put(unread, classes), view.mirrored)
        return condition_latents(latents[None], shown[None] / 255)[0]


def recipe_of(config: Config, base: Base, schedule: Noise, resolution: int) -> Recipe:
    """The values of config and base that an example depends on."""
    model, objective, vae = config.model, config.objective, base.config("vae")
    side = resolution // base.vae_scale_factor
    condition = condition_of(model.trained, model.condition)
    return Recipe(
        seed=config.train.seed,
        resolution=resolution,
        latent_shape=(int(vae["latent_channels"]), side, side),
        latents=base.latents,
        draw_timestep=schedule.draw,
        caption_dropout=config.data.caption_dropout,
        noise_offset=objective.noise_offset,
        input_perturbation=objective.input_perturbation,
        condition=condition,
        placed=base.family.placed,
        sequence=config.data.sequence,
        # InstructPix2Pix concatenates unscaled latents.
        show_latents=(LatentScale(1.0) if model.trained == "lora+concat" else base.latents)
        if condition.latents
        else None,
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


def example_prompt(dataset: Dataset, config: DataConfig) -> str:
    """The fullest caption of the first patches, in the style and of the target that generation asks for by default."""
    style, target = main_style(config), "pre" if config.direction == "past" else "post"
    captions = [caption for row in dataset[:PATCHES_READ]["captions"] for caption in row]
    texts: list[str] = [one["text"] for one in captions if (one["style"], one["target"]) == (style, target)]
    return max(texts, key=len)


def main_style(config: DataConfig) -> str:
    """The style of captions with the largest weight, which generation uses by default."""
    return max(config.caption_styles, key=config.caption_styles.__getitem__)


def scale_of(dataset: Dataset, resolution: int) -> dict[str, Any]:
    """For state.json: patches of `patch_px` (None = it varies), resized to `resolution` px of `gsd_m` metres each.

    The latter is a median over the patches of which the ground size is known; None = it is of none.
    """
    sizes, pixels_m = (np.asarray(dataset[name][:], float) for name in ("size", "pixel_size_m"))
    known = (sizes * pixels_m)[pixels_m > 0]
    return {
        "resolution": resolution,
        "patch_px": int(sizes[0]) if len(set(sizes)) == 1 else None,
        "gsd_m": float(np.median(known)) / resolution if known.size else None,
    }
