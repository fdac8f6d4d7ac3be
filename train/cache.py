"""What the frozen VAE and text encoder say of the data, computed once: on disk, memory-mapped ever after, or in memory.

Chunks of entries lie in safetensors files named after a hash of what went in (image bytes or text, preprocessing,
network weights), so any run that needs the same numbers finds them and no stale number can be read.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from models.base import Base
from models.text import text_states
from train.views import Shown

FORMAT = 2  # raise when the meaning of an entry changes
CHUNK = 64  # entries per file
ENCODE_BATCH = 8
LEFTOVER_SECONDS = 3600

Item = TypeVar("Item")


class Entries(Protocol):
    """The tensors of entry i, by name."""

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class FileCache:
    """Entry i of every tensor, read from its chunk's file."""

    files: list[Path]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The tensors of one entry, without the leading axis of the file."""
        chunk, row = divmod(index, CHUNK)
        file = _open(self.files[chunk])
        return {name: file.get_slice(name)[row] for name in file.keys()}


@dataclass(frozen=True)
class MemoryCache:
    """Entry i of every tensor, kept in memory; data workers share it."""

    tensors: dict[str, Tensor]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The tensors of one entry."""
        return {name: tensor[index] for name, tensor in self.tensors.items()}


@lru_cache(maxsize=4096)  # a handle per chunk and process; each holds a memory map, no data
def _open(path: Path) -> Any:  # noqa: ANN401 (safe_open has no public type)
    return safe_open(path, framework="pt").__enter__()


def cache_latents(
    accelerator: Accelerator, folder: Path | None, base: Base, images: Sequence[Shown], *, resolution: int
) -> Entries:
    """Posterior `mean` and `std` of the VAE for every image, (C, h, w) float32, unscaled.

    Args:
        accelerator: its processes share the work.
        folder: of the cache on disk; None keeps it in memory.
        base: whose VAE encodes.
        images: each with the `sha256` of its file, and `pixels`.
        resolution: side that they are shown at, px; a part of the key.
    """
    vae_hash = base.weights_hash("vae")

    def encoder() -> Callable[[list[Shown]], dict[str, Tensor]]:
        vae = base.load_vae().to(accelerator.device)

        def encode(batch: list[Shown]) -> dict[str, Tensor]:
            pixels = torch.stack([image.pixels() for image in batch]).to(accelerator.device)
            return encode_images(vae, pixels)

        return encode

    return _fill(
        accelerator,
        folder and folder / "latents",
        images,
        key_of=lambda image: [image.sha256, image.mirrored, resolution, vae_hash],
        load_encoder=encoder,
        description="encode images",
    )


def cache_text(
    accelerator: Accelerator, folder: Path | None, base: Base, texts: Sequence[str], chunks: int = 1
) -> Entries:
    """The text encoder's last hidden state `states` of every text, (chunks * 77, D) float32."""
    text_hash = base.weights_hash("text_encoder")

    def encoder() -> Callable[[list[str]], dict[str, Tensor]]:
        tokenizer, text_encoder = base.load_tokenizer(), base.load_text_encoder().to(accelerator.device)
        return lambda batch: {"states": text_states(tokenizer, text_encoder, batch, chunks)}

    return _fill(
        accelerator,
        folder and folder / "text",
        texts,
        key_of=lambda text: [text, chunks, text_hash],
        load_encoder=encoder,
        description="encode captions",
    )


def encode_images(vae: AutoencoderKL, pixels: Tensor) -> dict[str, Tensor]:
    """(B, 3, H, W) uint8 -> posterior `mean` and `std`, (B, C, h, w) float32, unscaled."""
    posterior = vae.encode(pixels.float() / 127.5 - 1).latent_dist
    return {"mean": posterior.mean, "std": posterior.std}


@torch.no_grad()
def _fill(
    accelerator: Accelerator,
    folder: Path | None,
    items: Sequence[Item],
    *,
    key_of: Callable[[Item], list[Any]],
    load_encoder: Callable[[], Callable[[list[Item]], dict[str, Tensor]]],
    description: str,
) -> Entries:
    """Encode the chunks that are not there yet, each by one process; networks are loaded only if there are any."""
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    bar = partial(tqdm, desc=description, unit="chunk", mininterval=1, disable=not accelerator.is_main_process)
    if folder is None:  # every process has a memory of its own
        encode = load_encoder()
        return MemoryCache(_joined([_encode_chunk(encode, chunk) for chunk in bar(chunks)]))
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{_hash([FORMAT, *(key_of(item) for item in chunk)])}.safetensors" for chunk in chunks]
    if accelerator.is_main_process:
        _remove_leftovers(folder)
    missing = [pair for pair in zip(files, chunks, strict=True) if not _is_whole(pair[0], len(pair[1]))]
    accelerator.wait_for_everyone()  # all have looked before anyone writes
    if mine := missing[accelerator.process_index :: accelerator.num_processes]:
        encode = load_encoder()
        for path, chunk in bar(mine):
            # Another run may be filling the same cache at this moment: no two write one file, the last one stays.
            unfinished = path.with_suffix(f".partial-{socket.gethostname()}-{os.getpid()}")
            save_file(_encode_chunk(encode, chunk), unfinished)
            unfinished.rename(path)
    accelerator.wait_for_everyone()
    return FileCache(files)


def _remove_leftovers(folder: Path) -> None:
    """What killed processes left; a living one takes seconds for a file, not hours."""
    for unfinished in folder.glob("*.partial-*"):
        with suppress(FileNotFoundError):  # a living one has just finished it
            if time.time() - unfinished.stat().st_mtime > LEFTOVER_SECONDS:
                unfinished.unlink()


def _encode_chunk(encode: Callable[[list[Item]], dict[str, Tensor]], chunk: Sequence[Item]) -> dict[str, Tensor]:
    return _joined([encode(list(chunk[start : start + ENCODE_BATCH])) for start in range(0, len(chunk), ENCODE_BATCH)])


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Batches one after the other, on the CPU."""
    return {name: torch.cat([batch[name].cpu() for batch in batches]).contiguous() for name in batches[0]}


def _is_whole(path: Path, entries: int) -> bool:
    """Whether a chunk is there and holds as many entries as it should; a broken one is encoded again."""
    try:
        with safe_open(path, framework="pt") as file:
            return all(file.get_slice(name).get_shape()[0] == entries for name in file.keys())
    except (OSError, SafetensorError):
        return False


def _hash(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]
