"""Outputs of the frozen VAE and text encoder, computed once: on disk, then memory-mapped, or in memory.

Every entry has its own key, a hash of its inputs (image bytes or token ids, preprocessing, network weights).
Any run that needs the same values finds them, and no stale value can be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from torch import Tensor

from data.progress import Bar
from models.base import Base
from train.errors import TrainingError
from train.inputs.packs import Places, find, hashed, make_folder, open_pack, write_pack
from train.inputs.views import Shown
from train.processes.first_process import from_main

FORMAT = 3  # raise when the meaning of an entry changes
PACK = 64  # maximum entries per file
ENCODE_BATCH = 8

Item = TypeVar("Item")


class Entries(Protocol):
    """The tensors of entry i, by name."""

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class FileCache:
    """Entry i of every tensor, read from its pack."""

    files: list[Path]
    places: Places

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The tensors of one entry, without the leading axis of the file."""
        number, row = self.places[index].tolist()
        file = open_pack(self.files[number])
        return {name: file.get_slice(name)[row] for name in file.keys()}


@dataclass(frozen=True)
class MemoryCache:
    """Entry i of every tensor, kept in memory and shared by data workers."""

    tensors: dict[str, Tensor]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The tensors of one entry."""
        return {name: tensor[index] for name, tensor in self.tensors.items()}


def cache_latents(
    accelerator: Accelerator, folder: Path | None, base: Base, images: Sequence[Shown], *, resolution: int
) -> Entries:
    """Posterior `mean` and `std` of the VAE for every image, (C, h, w) float32, unscaled.

    Args:
        accelerator: its processes share the work.
        folder: of the cache on disk; None = in memory.
        base: whose VAE encodes.
        images: each with the `sha256` of its file, and `pixels`.
        resolution: side that they are resized to, px; part of the key.
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


def cache_text(accelerator: Accelerator, folder: Path | None, base: Base, token_ids: Tensor) -> Entries:
    """What the networks are told of every text, see `Base.encode`; float32.

    `token_ids`, (B, ...), are the encoders' input and so determine the key: a different tokenization gives a different
    key.
    """
    text_hash = base.text_hash

    def encoder() -> Callable[[list[Tensor]], dict[str, Tensor]]:
        text_encoder = base.load_text_encoder().to(accelerator.device)
        return lambda batch: base.encode(text_encoder, torch.stack(batch).to(accelerator.device))

    return _fill(
        accelerator,
        folder and folder / "text",
        list(token_ids),
        key_of=lambda ids: [ids.tolist(), text_hash],
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
    """Encode missing entries, each by one process; networks are loaded only if there are any."""
    bar = partial(Bar, desc=description, unit="pack", mininterval=1, disable=not accelerator.is_main_process)
    if folder is None:  # every process has its own memory
        return MemoryCache(_encode(load_encoder(), bar(_cut(items, ENCODE_BATCH))))
    keys = [hashed([FORMAT, *key_of(item)]) for item in items]
    # Another run may be filling the same folder: if each process looked for itself, they might disagree.
    files, places = from_main(accelerator, lambda: find(folder, keys))
    if missing := _missing(places, keys):
        from_main(accelerator, lambda: make_folder(folder))
        packs = _cut(missing, PACK)[accelerator.process_index :: accelerator.num_processes]
        encode = load_encoder() if packs else None
        for pack in bar(packs):
            assert encode is not None
            tensors = _encode(encode, _cut([items[i] for i in pack], ENCODE_BATCH))
            write_pack(folder, [keys[i] for i in pack], tensors)
        accelerator.wait_for_everyone()
        files, places = from_main(accelerator, lambda: find(folder, keys))
        if missing := _missing(places, keys):
            raise TrainingError(
                f"{folder}: {len(missing)} entries disappeared while others were encoded. Let nothing delete files "
                "there, then run the same command again."
            )
    return FileCache(files, places)


def _cut(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def _missing(places: Places, keys: list[str]) -> list[int]:
    """Missing entries; of equal ones the first."""
    first = {keys[i]: i for i in reversed(np.flatnonzero(places[:, 0] < 0).tolist())}
    return sorted(first.values())


def _encode(
    encode: Callable[[list[Item]], dict[str, Tensor]], batches: "Sequence[list[Item]] | Bar"
) -> dict[str, Tensor]:
    """Encode batch by batch; outputs on the CPU."""
    encoded = [{name: x.cpu() for name, x in encode(batch).items()} for batch in batches]
    return {name: torch.cat([batch[name] for batch in encoded]).contiguous() for name in encoded[0]}
