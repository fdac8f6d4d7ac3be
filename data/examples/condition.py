"""What a network is shown of a place: its image and the requested damage, or the image to restore."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.imagery.pixels import resize_mask, resize_rgb

DAMAGE_VALUES_SHOWN = 5  # background and the four damage classes; un-classified ground is none of them
HOLE_GREY = 128

Pixels = NDArray[np.uint8]


def with_mask(pixels: Pixels, classes: Pixels) -> Pixels:
    """(height, width, 3) pixels and (height, width) of a damage mask as (height, width, 8): 255 where a class is."""
    return np.concatenate([pixels, mask_alone(pixels, classes)], -1)


def mask_alone(pixels: Pixels, classes: Pixels) -> Pixels:
    """The last 5 channels of the same."""
    return np.where(classes[..., None] == np.arange(DAMAGE_VALUES_SHOWN), np.uint8(255), np.uint8(0))


def without_hole(pixels: Pixels, hole: Pixels) -> Pixels:
    """(height, width, 3) pixels and (height, width) of a hole, not 0, as (height, width, 4): there grey and 255."""
    gone = hole[..., None] > 0
    return np.concatenate([np.where(gone, np.uint8(HOLE_GREY), pixels), gone * np.uint8(255)], -1)


def coarse(factor: int) -> Callable[[Pixels], Pixels]:
    """Pixels (height, width, 3) at a lower resolution: the mean of every block, enlarged again, bicubic."""

    def reduced(pixels: Pixels) -> Pixels:
        image = Image.fromarray(pixels)
        small = image.resize([max(1, side // factor) for side in image.size], Image.Resampling.BOX)
        return np.array(small.resize(image.size, Image.Resampling.BICUBIC))

    return reduced


@dataclass(frozen=True)
class Condition:
    """The input that a network gets for a patch."""

    channels: int = 3
    pixels: bool = True  # of an image are shown, first
    with_mask: Callable[[Pixels, Pixels], Pixels] | None = None  # pixels and damage mask -> all; None = pixels alone
    with_hole: Callable[[Pixels, Pixels], Pixels] | None = None  # pixels and hole -> all
    coarse: Callable[[Pixels], Pixels] | None = None  # pixels -> at a lower resolution
    latents: bool = False  # of the VAE, made of these pixels; a mask is reduced to their cells

    @property
    def restores(self) -> bool:
        """Whether what is shown is the image to make itself, damaged, and not the other one of the pair."""
        return bool(self.with_hole or self.coarse)

    def shown(self, image: Image.Image, mask: Image.Image | None, resolution: int) -> Pixels:
        """The image of a patch and, where there is one and this condition reads it, its mask.

        Args:
            image: of the patch.
            mask: damage: 0 background, 1 to 4 damage, 255 not assessable; or a hole: whatever is not 0.
            resolution: side of the result, px.

        Returns:
            (resolution, resolution, channels) uint8.
        """
        return self.put(resize_rgb(image, resolution), None if mask is None else resize_mask(mask, resolution))

    def put(self, pixels: Pixels, mask: Pixels | None) -> Pixels:
        """The same of (height, width, 3) pixels and a (height, width) mask."""
        if self.coarse:
            return self.coarse(pixels)
        together = self.with_mask or self.with_hole
        return pixels if mask is None or together is None else together(pixels, mask)


CONDITIONS = {  # the values of model.condition
    "pixels": Condition(),
    "latents": Condition(latents=True),
    "pixels+mask": Condition(channels=3 + DAMAGE_VALUES_SHOWN, with_mask=with_mask),
    "latents+mask": Condition(channels=3 + DAMAGE_VALUES_SHOWN, with_mask=with_mask, latents=True),
    "mask": Condition(channels=DAMAGE_VALUES_SHOWN, pixels=False, with_mask=mask_alone),
    "coarse2": Condition(coarse=coarse(2)),
    "coarse4": Condition(coarse=coarse(4)),
    "coarse8": Condition(coarse=coarse(8)),
    "hole": Condition(channels=4, with_hole=without_hole),
}


def condition_of(trained: str, condition: str) -> Condition:
    """Given what is trained and `model.condition`, which applies to a ControlNet or T2I-Adapter."""
    if not trained.startswith("lora"):
        return CONDITIONS[condition]
    return CONDITIONS["latents" if trained == "lora+concat" else "pixels"]


def undamaged(mask: Image.Image) -> Image.Image:
    """The damage mask of the same place before the event: every building is intact."""
    return Image.fromarray((np.array(mask) > 0).astype(np.uint8))
