"""One training example: a pure function of (dataset, config, seed, ordinal), computed in the data worker."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor

from data.examples.condition import condition_of, undamaged
from data.examples.holes import hole_of
from data.examples.place import Spot, spots_of
from data.examples.rows import shown_sequence, too_short
from data.examples.sampler import example_rng, view_of
from data.imagery.pixels import resize_rgb
from data.quality.image import nodata_mask
from data.schema import WITH_MASK
from models.base import Base
from models.families.noise import Noise
from models.images import LatentScale
from models.text import longest, maybe_truncated
from train.config import Config
from train.errors import ConfigError
from train.inputs.cache import Entries, cache_latents, cache_text
from train.inputs.metadata import Metadata, metadata_of, uses_metadata
from train.inputs.recipe import Recipe, recipe_of, resolution_of
from train.inputs.restoring import NOT_ASSESSABLE, restored
from train.inputs.views import Captions, Phase, View, captions_of_views, images_of, mirror, views_of
from train.objective import damage_weights
from train.stages import Stage


@dataclass(frozen=True)
class Examples(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Maps an ordinal to its example."""

    images: Dataset  # with the columns `columns_shown`
    views: list[View]
    captions: list[Captions]  # per view
    empty_caption: int  # row of `text`
    latents: Entries | None  # None = encoded in each step, see train/inputs/encode.py
    latent_rows: dict[tuple[Phase, bool], int]  # (phase, mirrored) -> row of the first patch in `latents`
    text: Entries  # `states`, or `token_ids` without a cache
    recipe: Recipe
    metadata: Metadata | None = None  # None = no network is conditioned on it
    spots: Sequence[Spot] = ()  # of every patch

    def __getitem__(self, ordinal: int) -> dict[str, Tensor]:
        """One example.

        Returns:
            latents (C, h, w) float32, scaled; noise (C, h, w) float32, that defines the target; input_noise, the
            same plus the input perturbation; timestep () int64; encoder_hidden_states (T, D) float32; condition
            (K, H, W) uint8 pixels, for a sequence all images concatenated, pre first, or (C, h, w) float32
            latents; loss_weights (h, w) float32, with damage weights only; metadata (7,) and cond_metadata (7,), of a
            sequence (7, T), float32, NaN = unknown, only if a network is conditioned on them; what else the base's
            networks are told of a caption and of the place, see `Family.encode` and `placed`;
            fingerprint () int64, a checksum of everything drawn. Without a cache target_pixels (3, H, W)
            uint8, spread (C, h, w) and token_ids replace latents and encoder_hidden_states.
        """
        recipe = self.recipe
        index = view_of(recipe.seed, ordinal, len(self.views))
        view, rng = self.views[index], example_rng(recipe.seed, ordinal)
        caption = self.captions[index].draw(rng)
        if rng.random() < recipe.caption_dropout:
            caption = self.empty_caption
        timestep = recipe.draw_timestep(rng)
        noise, spread = (rng.standard_normal(recipe.latent_shape, dtype=np.float32) for _ in range(2))
        if recipe.noise_offset:
            per_channel = rng.standard_normal((recipe.latent_shape[0], 1, 1), dtype=np.float32)
            noise += np.float32(recipe.noise_offset) * per_channel
        input_noise = noise
        if recipe.input_perturbation:
            extra = rng.standard_normal(recipe.latent_shape, dtype=np.float32)
            input_noise = noise + np.float32(recipe.input_perturbation) * extra
        drawn = [np.array([index, caption, timestep]), noise, spread, input_noise]
        metadata: dict[str, Tensor] = {}
        if self.metadata is not None:
            metadata, dropped = self.metadata.draw(rng, view)
            drawn.append(dropped)
        hole = hole_of(rng, recipe.resolution) if recipe.condition.with_hole else None
        if hole is not None:
            drawn.append(hole)
        example = {
            "noise": torch.from_numpy(noise),
            "input_noise": torch.from_numpy(input_noise),
            "timestep": torch.tensor(timestep),
            "fingerprint": torch.tensor(zlib.crc32(b"".join(part.tobytes() for part in drawn))),
        }
        row = self.images[view.patch] if self.images.column_names else {}  # decodes every image in it
        example |= self._target(view, row, spread) | self._text(caption) | self._shown(view, row, hole)
        return example | self._placed(view) | metadata

    def __getitems__(self, ordinals: list[int]) -> list[dict[str, Tensor]]:
        """The examples of one micro-batch."""
        return [self[ordinal] for ordinal in ordinals]

    def _target(self, view: View, row: dict[str, Any], spread: np.ndarray) -> dict[str, Tensor]:
        if self.latents is None:
            pixels = resize_rgb(row[view.target], self.recipe.resolution)
            return {"target_pixels": mirror(pixels, view.mirrored), "spread": torch.from_numpy(spread)}
        posterior = self._posterior(self.latents, view.target, view)
        return {"latents": sample(posterior, torch.from_numpy(spread), self.recipe.latents)}

    def _text(self, caption: int) -> dict[str, Tensor]:
        return named(self.text[caption])

    def _placed(self, view: View) -> dict[str, Tensor]:
        """Where the view lies in its scene, for families whose networks are told."""
        place = self.spots[view.patch].shown(self.recipe.resolution, view.mirrored)
        return {name: rows[0] for name, rows in self.recipe.placed(torch.tensor([place])).items()}

    def _shown(self, view: View, row: dict[str, Any], hole: np.ndarray | None) -> dict[str, Tensor]:
        """The condition and the loss weights."""
        recipe, found = self.recipe, {}
        if recipe.condition.restores:
            return restored(recipe, view, row, hole)
        mask = row["damage_mask"] if recipe.condition.with_mask else None
        mask = undamaged(mask) if mask is not None and view.past else mask
        if recipe.show_latents is not None and self.latents is not None:
            latents = recipe.show_latents.scaled(self._posterior(self.latents, view.source, view)["mean"])
            found["condition"] = latents if mask is None else recipe.beside(latents, mask, view)
        else:
            if recipe.sequence > 1:
                pixels = shown_sequence(row, recipe.sequence, recipe.resolution)
            else:
                pixels = recipe.condition.shown(row[view.source], mask, recipe.resolution)
            found["condition"] = mirror(pixels, view.mirrored)
        if recipe.damage_weights is not None:
            mask = mirror(loss_mask(row)[..., None], view.mirrored)[0]
            found["loss_weights"] = damage_weights(mask, recipe.damage_weights, recipe.latent_shape[-1])
        return found

    def _posterior(self, latents: Entries, phase: Phase, view: View) -> dict[str, Tensor]:
        return latents[self.latent_rows[phase, view.mirrored] + view.patch]


@dataclass(frozen=True)
class TokenIds:
    """Stands in for the text cache: (chunks, 77) token ids."""

    ids: Tensor

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Token ids of one text."""
        return {"token_ids": self.ids[index]}


def named(caption: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the networks are told of a caption, by the names in an example."""
    return {"encoder_hidden_states" if name == "states" else name: value for name, value in caption.items()}


def sample(posterior: dict[str, Tensor], spread: Tensor, scale: LatentScale) -> Tensor:
    """Latents of the VAE's posterior, scaled as the denoiser expects them."""
    return scale.scaled(posterior["mean"] + posterior["std"] * spread)


def loss_mask(row: dict[str, Any]) -> np.ndarray:
    """The damage mask (H, W) uint8 of a patch, 255 where either image has no data; background if unlabelled."""
    pre, post = (np.array(row[phase]) for phase in ("pre", "post"))
    mask = np.zeros(post.shape[:2], np.uint8) if row["damage_mask"] is None else np.array(row["damage_mask"])
    if row["nodata_fraction"]:
        mask[nodata_mask(pre) | nodata_mask(post)] = NOT_ASSESSABLE
    return mask


@dataclass(frozen=True)
class Captioned:
    """The views of a dataset with their captions, every patch having what an example needs."""

    views: list[View]
    texts: list[str]  # all different ones, the empty one among them
    captions: list[Captions]  # per view


def captioned(config: Config, stage: Stage, dataset: Dataset) -> Captioned:
    """Read and check them.

    Raises:
        ConfigError: patches of several sizes, or a patch lacks a caption of a style, a history, or a mask that the
            condition needs.
    """
    data, model = config.data, config.model
    resolution_of(stage, dataset)
    if condition_of(model.trained, model.condition).with_mask:
        check_masks(dataset)
    check_histories(stage, dataset, data.sequence)
    views = views_of(len(dataset), mirror=data.mirror, direction=data.direction)
    return Captioned(views, *captions_of_views(dataset, views, data.caption_styles))


def prepare_examples(
    accelerator: Accelerator,
    config: Config,
    stage: Stage,
    base: Base,
    schedule: Noise,
    dataset: Dataset,
    checked: Captioned | None = None,
) -> Examples:
    """Fill the cache and combine dataset, captions and cache.

    `checked`: what `captioned` returns, if it has been read already.

    Raises:
        ConfigError: see `captioned`.
    """
    checked = checked or captioned(config, stage, dataset)
    views, texts, captions = checked.views, checked.texts, checked.captions
    data, recipe = config.data, recipe_of(config, base, schedule, resolution_of(stage, dataset))
    tokenizer, token_ids = base.load_tokenizer(), base.tokenize(texts, data.text_chunks)
    full = maybe_truncated(texts, token_ids, data.text_chunks, tokenizer.model_max_length)
    cut, needed = longest(tokenizer, full, data.text_chunks)
    if cut:
        accelerator.print(
            f"{cut} of {len(texts)} captions are longer than data.text_chunks {data.text_chunks} (77 tokens each) and "
            f"are truncated; {needed} would fit them all."
        )
    phases = {view.target for view in views} | ({view.source for view in views} if recipe.show_latents else set())
    kinds = [
        (phase, mirrored) for phase in sorted(phases, reverse=True) for mirrored in (False, True)[: 1 + data.mirror]
    ]
    folder = config.run.cache if config.run.cache_in == "disk" else None
    latents: Entries | None = None
    if config.run.cache_in == "off":
        text: Entries = TokenIds(token_ids)
    else:
        shown = images_of(dataset, kinds, recipe.resolution)
        latents = cache_latents(accelerator, folder, base, shown, resolution=recipe.resolution)
        text = cache_text(accelerator, folder, base, token_ids)
    return Examples(
        images=dataset.select_columns(
            [name for name in columns_shown(recipe, views, encoded=latents is not None) if name in dataset.column_names]
        ),
        views=views,
        captions=captions,
        empty_caption=texts.index(""),
        latents=latents,
        latent_rows={kind: number * len(dataset) for number, kind in enumerate(kinds)},
        text=text,
        recipe=recipe,
        spots=spots_of(dataset),
        metadata=metadata_of(
            dataset, recipe.resolution, data.metadata_dropout, data.metadata_dropout_all, data.sequence
        )
        if uses_metadata(config.model, base)
        else None,
    )


def columns_shown(recipe: Recipe, views: Sequence[View], *, encoded: bool) -> list[str]:
    """The columns that examples need: decoding a row decodes all its images, so no others are selected.

    Args:
        recipe: the inputs of an example.
        views: all views in use.
        encoded: whether latents come from the cache.
    """
    columns: set[str] = set()
    if recipe.condition.restores:
        columns |= {view.target for view in views}
    elif recipe.show_latents is None or not encoded:
        columns |= {view.source for view in views}
    if recipe.condition.with_hole:
        columns |= {"cover_mask", "nodata_fraction"}  # datasets built before there was any lack the first
    if not encoded:
        columns |= {view.target for view in views}
    if recipe.condition.with_mask:
        columns |= {"damage_mask"}
    if recipe.sequence > 1:
        columns |= {"history"}
    if recipe.damage_weights is not None:
        columns |= {"pre", "post", "damage_mask", "nodata_fraction"}
    return sorted(columns)


def check_histories(stage: Stage, dataset: Dataset, images: int) -> None:
    """Raise unless every patch has so many pre-event images."""
    if short := too_short(dataset, images):
        raise ConfigError(
            f"data.sequence is {images}, but {len(short)} patches of {stage.dataset} have fewer pre-event images, "
            f"first {short[0]}. Lower it, or build the dataset from a source whose locations all have a "
            "history (docs/sources.md)."
        )


def check_masks(dataset: Dataset) -> None:
    """Raise unless every patch has a damage mask."""
    unlabelled = [row for row, labels in enumerate(dataset["labels"][:]) if labels not in WITH_MASK]
    if unlabelled:
        raise ConfigError(
            f"model.condition needs damage masks, but {len(unlabelled)} patches have no damage mask, first "
            f"{dataset[unlabelled[0]]['patch_id']}. Exclude their scenes from the dataset, or set it to pixels."
        )
