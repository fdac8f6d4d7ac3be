"""What the frozen VAE and text encoder say of the data, computed once and memory-mapped ever after.

Chunks of entries lie in safetensors files named after a hash of what went in (image bytes or text, preprocessing,
network weights), so any run that needs the same numbers finds them and no stale number can be read.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from datasets import Dataset
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from data.pixels import resize_rgb
from models.base import Base

FORMAT = 1  # raise when the meaning of an entry changes
CHUNK = 64  # entries per file
ENCODE_BATCH = 8

Item = TypeVar("Item")


@dataclass(frozen=True)
class Cache:
    """Entry i of every tensor, read from its chunk's file."""

    files: list[Path]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The tensors of one entry, without the leading axis of the file."""
        chunk, row = divmod(index, CHUNK)
        file = _open(self.files[chunk])
        return {name: file.get_slice(name)[row] for name in file.keys()}


@lru_cache(maxsize=4096)  # a handle per chunk and process; each holds a memory map, no data
def _open(path: Path) -> Any:  # noqa: ANN401 (safe_open has no public type)
    return safe_open(path, framework="pt").__enter__()


@dataclass(frozen=True)
class View:
    """A patch, mirrored or not."""

    patch: int  # row of the dataset
    mirrored: bool


def cache_latents(
    accelerator: Accelerator, folder: Path, base: Base, dataset: Dataset, views: Sequence[View], *, resolution: int
) -> Cache:
    """Posterior `mean` and `std` of the VAE for the post image of every view, (C, h, w) float32, unscaled."""
    images = dataset.select_columns(["post"])
    hashes = dataset["post_sha256"][:]
    vae_hash = base.weights_hash("vae")

    def encoder() -> Callable[[list[View]], dict[str, Tensor]]:
        vae = base.load_vae().to(accelerator.device)

        def encode(batch: list[View]) -> dict[str, Tensor]:
            pixels = [pixels_of(images[view.patch]["post"], resolution, view.mirrored) for view in batch]
            posterior = vae.encode(torch.stack(pixels).to(accelerator.device).float() / 127.5 - 1).latent_dist
            return {"mean": posterior.mean, "std": posterior.std}

        return encode

    return _fill(
        accelerator,
        folder / "latents",
        views,
        key_of=lambda view: [hashes[view.patch], view.mirrored, resolution, vae_hash],
        load_encoder=encoder,
        description="encode images",
    )


def cache_text(accelerator: Accelerator, folder: Path, base: Base, texts: Sequence[str]) -> Cache:
    """The text encoder's last hidden state `states` of every text, (77, D) float32."""
    text_hash = base.weights_hash("text_encoder")

    def encoder() -> Callable[[list[str]], dict[str, Tensor]]:
        tokenizer, text_encoder = base.load_tokenizer(), base.load_text_encoder().to(accelerator.device)

        def encode(batch: list[str]) -> dict[str, Tensor]:
            tokens = tokenizer(
                batch, padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
            )
            return {"states": text_encoder(tokens.input_ids.to(accelerator.device)).last_hidden_state}

        return encode

    return _fill(
        accelerator,
        folder / "text",
        texts,
        key_of=lambda text: [text, text_hash],
        load_encoder=encoder,
        description="encode captions",
    )


def pixels_of(image: Any, resolution: int, mirrored: bool) -> Tensor:  # noqa: ANN401 (PIL image)
    """A patch as the network sees it: (3, resolution, resolution) uint8."""
    pixels = torch.from_numpy(resize_rgb(image, resolution)).permute(2, 0, 1)
    return pixels.flip(-1) if mirrored else pixels


@torch.inference_mode()
def _fill(
    accelerator: Accelerator,
    folder: Path,
    items: Sequence[Item],
    *,
    key_of: Callable[[Item], list[Any]],
    load_encoder: Callable[[], Callable[[list[Item]], dict[str, Tensor]]],
    description: str,
) -> Cache:
    """Encode the chunks that are not there yet, each by one process; networks are loaded only if there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    files = [folder / f"{_hash([FORMAT, *(key_of(item) for item in chunk)])}.safetensors" for chunk in chunks]
    missing = [pair for pair in zip(files, chunks, strict=True) if not _is_whole(pair[0], len(pair[1]))]
    accelerator.wait_for_everyone()  # all have looked before anyone writes
    mine = missing[accelerator.process_index :: accelerator.num_processes]
    encode = load_encoder() if mine else None
    for path, chunk in tqdm(
        mine, desc=description, unit="chunk", disable=not (mine and accelerator.is_main_process), mininterval=1
    ):
        assert encode is not None
        batches = [encode(list(chunk[start : start + ENCODE_BATCH])) for start in range(0, len(chunk), ENCODE_BATCH)]
        tensors = {name: torch.cat([batch[name] for batch in batches]).cpu().contiguous() for name in batches[0]}
        partial = path.with_suffix(f".partial-{accelerator.process_index}")
        save_file(tensors, partial)
        partial.rename(path)
    accelerator.wait_for_everyone()
    return Cache(files)


def _is_whole(path: Path, entries: int) -> bool:
    """Whether a chunk is there and holds as many entries as it should; a broken one is encoded again."""
    try:
        with safe_open(path, framework="pt") as file:
            return all(file.get_slice(name).get_shape()[0] == entries for name in file.keys())
    except (OSError, SafetensorError):
        return False


def _hash(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
