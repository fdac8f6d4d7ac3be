"""What the network sees in one draw: a pure function of (dataset, config, seed, ordinal), made in the data worker."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from diffusers import DDPMScheduler
from torch import Tensor

from data.sampler import example_rng, view_of
from models.base import Base
from train.cache import Cache, View, cache_latents, cache_text, pixels_of
from train.config import Config, ConfigError


@dataclass(frozen=True)
class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Maps an ordinal to its example."""

    pre_images: Dataset  # column `pre`
    views: list[View]
    captions: list[list[int]]  # per view: rows of `text` that describe its post image
    empty_caption: int  # row of `text`
    latents: Cache
    text: Cache
    resolution: int  # px
    scaling_factor: float  # of the VAE
    num_train_timesteps: int
    caption_dropout: float
    seed: int

    def __getitem__(self, ordinal: int) -> dict[str, Tensor]:
        """One example.

        Returns:
            pre_pixels (3, H, W) uint8; latents and noise (C, h, w) float32, the latents scaled; timestep () int64;
            encoder_hidden_states (77, D) float32; fingerprint () int64, a checksum of everything that was drawn.
        """
        index = view_of(self.seed, ordinal, len(self.views))
        view, rng = self.views[index], example_rng(self.seed, ordinal)
        captions = self.captions[index]
        caption = captions[rng.integers(len(captions))]
        if rng.random() < self.caption_dropout:
            caption = self.empty_caption
        timestep = int(rng.integers(self.num_train_timesteps))
        posterior = self.latents[index]
        noise, spread = (rng.standard_normal(posterior["mean"].shape, dtype=np.float32) for _ in range(2))
        latents = (posterior["mean"] + posterior["std"] * torch.from_numpy(spread)) * self.scaling_factor
        drawn = np.array([index, caption, timestep]).tobytes() + noise.tobytes() + spread.tobytes()
        return {
            "pre_pixels": pixels_of(self.pre_images[view.patch]["pre"], self.resolution, view.mirrored),
            "latents": latents,
            "noise": torch.from_numpy(noise),
            "timestep": torch.tensor(timestep),
            "encoder_hidden_states": self.text[caption]["states"],
            "fingerprint": torch.tensor(zlib.crc32(drawn)),
        }

    def __getitems__(self, ordinals: list[int]) -> list[dict[str, Tensor]]:
        """The examples of one micro-batch."""
        return [self[ordinal] for ordinal in ordinals]


def prepare_examples(
    accelerator: Accelerator, config: Config, base: Base, schedule: DDPMScheduler, dataset: Dataset
) -> Examples:
    """Fill the cache and tie dataset, captions and cache together.

    Raises:
        ConfigError: patches of several sizes, or a patch without a caption of the chosen style.
    """
    data, resolution = config.data, resolution_of(config, dataset)
    views = [
        View(patch, mirrored)
        for mirrored in ((False, True) if data.mirror else (False,))
        for patch in range(len(dataset))
    ]
    sides = {view.mirrored for view in views}
    wordings = {mirrored: post_captions(dataset, data.caption_style, mirrored) for mirrored in sides}
    captions = [wordings[view.mirrored][view.patch] for view in views]
    texts = sorted({text for options in captions for text in options} | {""})
    row_of = {text: row for row, text in enumerate(texts)}
    return Examples(
        pre_images=dataset.select_columns(["pre"]),
        views=views,
        captions=[[row_of[text] for text in options] for options in captions],
        empty_caption=row_of[""],
        latents=cache_latents(accelerator, config.run.cache, base, dataset, views, resolution=resolution),
        text=cache_text(accelerator, config.run.cache, base, texts),
        resolution=resolution,
        scaling_factor=float(base.config("vae").get("scaling_factor", 0.18215)),
        num_train_timesteps=schedule.config.num_train_timesteps,
        caption_dropout=data.caption_dropout,
        seed=config.train.seed,
    )


def resolution_of(config: Config, dataset: Dataset) -> int:
    """Side that patches are shown at, px."""
    if config.data.resolution:
        return config.data.resolution
    sizes = set(dataset["size"][:])
    if len(sizes) > 1:
        raise ConfigError(
            f"data.dataset has patches of {sorted(sizes)} px. Set data.resolution to show all at one size."
        )
    return int(sizes.pop())


def post_captions(dataset: Dataset, style: str, mirrored: bool) -> list[list[str]]:
    """For each patch, the texts of a style that describe its post image as the view shows it."""
    # Datasets built before captions knew directions have no mirrored wording: their texts fit both views.
    found = [
        [
            entry.get("mirrored", entry["text"]) if mirrored else entry["text"]
            for entry in captions
            if entry["style"] == style and entry["target"] == "post"
        ]
        for captions in dataset["captions"][:]
    ]
    fitting = [[text for text in texts if text is not None] for texts in found]
    for row, texts in enumerate(fitting):
        if not texts and found[row]:
            raise ConfigError(
                f"data.mirror is true, but no {style!r} caption of patch {dataset[row]['patch_id']} says what its "
                "mirrored view shows. Set data.mirror to false, or give `mirrored` in the file of captions."
            )
        if not texts:
            styles = sorted({entry["style"] for entry in dataset[row]["captions"]})
            raise ConfigError(
                f"data.caption_style is {style!r}, but patch {dataset[row]['patch_id']} has only {styles}. "
                "Choose one of those, or build the dataset again."
            )
    return fitting
