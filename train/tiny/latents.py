"""Latents and tokens of every view, computed once: the training data of the second stage."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from transformers import CLIPTokenizer

from data.progress import Bar
from data.storage import whole
from models.text import tokenize
from train.inputs.views import captions_of_views, views_of
from train.tiny.config import TinyConfig
from train.tiny.images import PHASES, Images, of_part, to_network
from train.tiny.precision import autocast

ENCODED_AT_ONCE = 16  # patches


class Latents:
    """Latents of the images of a split. A view is a pre or post image, mirrored or not, with matching captions."""

    def __init__(
        self, config: TinyConfig, vae: AutoencoderKL, vae_hash: str, tokenizer: CLIPTokenizer, images: Images
    ) -> None:
        data, precision = config.data, config.denoiser.precision
        self.images = images
        self.views = views_of(len(images.rows), mirror=True, direction="both")
        self.texts, self.captions = captions_of_views(images.rows, self.views, data.caption_styles)
        lines = [text.split("\n") for text in self.texts]  # of `chunks`, which trainers encode line by line
        ends = np.cumsum([len(each) for each in lines])
        self.spans = np.stack([ends - [len(each) for each in lines], ends], 1)
        self.all_tokens = tokens_of(tokenizer, [line for each in lines for line in each])
        self.empty: NDArray[np.int16] = self.all_tokens[self.spans[self.texts.index("")][0]]
        folder = data.folder / "latents"
        self.parts = [
            encoded(folder / f"{name}-{vae_hash[:16]}-{precision}.npy", vae, part, precision)
            for name, part in zip(images.names, images.parts, strict=True)
        ]
        self.side = self.parts[0].shape[-1]

    def latents(self, view: int) -> NDArray[np.float32]:
        """(C, h, w)."""
        patch, phase, mirrored = self._of(view)
        latents: NDArray[np.float32] = of_part(self.parts, patch)[phase, mirrored].astype(np.float32)
        return latents

    def tokens(self, view: int, rng: np.random.Generator) -> NDArray[np.int16]:
        """(77,) token ids of one of its captions."""
        first, end = self.spans[self.captions[view].draw(rng)]
        drawn: NDArray[np.int16] = self.all_tokens[rng.integers(first, end)]
        return drawn

    def caption(self, view: int) -> str:
        """Its first caption, for contact sheets."""
        return self.texts[self.captions[view].rows[0]]

    def real(self, view: int) -> NDArray[np.uint8]:
        """The real image, (H, W, 3)."""
        patch, phase, mirrored = self._of(view)
        pixels: NDArray[np.uint8] = of_part(self.images.parts, patch)[phase]
        return pixels[:, ::-1] if mirrored else pixels

    def _of(self, view: int) -> tuple[int, int, int]:
        shown = self.views[view]
        return shown.patch, PHASES.index(shown.target), int(shown.mirrored)


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> NDArray[np.int16]:
    """(N, 77), longer texts truncated."""
    return np.asarray(tokenize(tokenizer, texts)[:, 0], dtype=np.int16)


def encoded(path: Path, vae: AutoencoderKL, pixels: NDArray[np.uint8], precision: str) -> NDArray[np.float16]:
    """Posterior means of every image and its mirror image, (patches, 2 phases, 2 sides, C, h, w), stored in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = latent_means(vae, pixels[:1], precision).shape[1:]
        with whole(path) as partial:
            file = open_memmap(partial, "w+", np.float16, (len(pixels), *shape))
            for first in Bar(range(0, len(pixels), ENCODED_AT_ONCE), desc="encode patches", unit="batch"):
                part = slice(first, first + ENCODED_AT_ONCE)
                file[part] = latent_means(vae, pixels[part], precision)
            file.flush()
    latents: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return latents


@torch.no_grad()
def latent_means(vae: AutoencoderKL, pixels: NDArray[np.uint8], precision: str) -> NDArray[np.float16]:
    """(B, 2, H, W, 3) -> (B, 2 phases, 2 sides, C, h, w)."""
    both = np.stack([pixels, pixels[:, :, :, ::-1]], axis=2)
    with autocast(precision):
        means = vae.encode(to_network(both.reshape(-1, *both.shape[3:]))).latent_dist.mean
    found: NDArray[np.float16] = means.reshape(*both.shape[:3], *means.shape[1:]).half().numpy()
    return found
