"""The images that the tiny base is trained on: simulated, built, and decoded once into memory-mapped files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from data.build import build
from data.dataset.open import fingerprint, open_dataset
from data.imagery.pixels import resize_rgb
from data.progress import Bar
from data.simulation.simulate import simulate
from data.storage import whole
from train.inputs.views import Phase
from train.tiny.config import DataConfig

Kind = TypeVar("Kind", bound=np.generic)
PHASES: tuple[Phase, Phase] = ("pre", "post")


@dataclass(frozen=True)
class Images:
    """Pre and post images of the patches of one split of all releases."""

    rows: Dataset  # one per patch, the releases concatenated
    parts: list[NDArray[np.uint8]]  # per release: (patches, 2 phases, H, W, 3), memory-mapped
    names: list[str]  # per release: fingerprint of its content

    def __len__(self) -> int:
        """Number of images."""
        return len(PHASES) * len(self.rows)

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """Image `number`, (H, W, 3): pre and post of the first patch, of the second, ..."""
        patch, phase = divmod(number, len(PHASES))
        pixels: NDArray[np.uint8] = of_part(self.parts, patch)[phase]
        return pixels

    def evenly(self, count: int) -> list[int]:
        """Indices of `count` images, evenly spread over all of them."""
        return [int(number) for number in np.linspace(0, len(self) - 1, min(count, len(self)))]

    def batch(self, numbers: list[int]) -> Tensor:
        """(B, 3, H, W) float32 in [-1, 1]."""
        return to_network(np.stack([self.pixels(number) for number in numbers]))


def open_images(data: DataConfig, split: str, first: int = 0) -> Images:
    """Simulate, build and decode what is missing of the `first` releases (their number; 0 = all)."""
    releases = data.releases[:first] if first else data.releases
    folders = [dataset_of(data, release.seed, release.scenes) for release in releases]
    rows = [open_dataset(folder, split) for folder in folders]
    names = [f"{split}-{data.resolution}-{fingerprint(folder)[:16]}" for folder in folders]
    parts = [
        decoded(data.folder / "decoded" / f"{name}.npy", part, data.resolution)
        for name, part in zip(names, rows, strict=True)
    ]
    return Images(concatenate_datasets(rows), parts, names)


def dataset_of(data: DataConfig, seed: int, scenes: int) -> Path:
    """The built dataset of a release."""
    folder = data.folder / f"seed-{seed}-scenes-{scenes}"
    if not (folder / f"dataset-{data.patch}").exists():
        if not (folder / "release").exists():
            simulate(out=folder / "release", scenes=scenes, seed=seed)
        build(source=folder / "release", out=folder / f"dataset-{data.patch}", size=data.patch)
    return folder / f"dataset-{data.patch}"


def decoded(path: Path, rows: Dataset, resolution: int) -> NDArray[np.uint8]:
    """Every image of a dataset at one resolution, (patches, 2, H, W, 3), kept in a file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as partial:
            file = open_memmap(partial, "w+", np.uint8, (len(rows), len(PHASES), resolution, resolution, 3))
            for row, patch in enumerate(Bar(rows.select_columns(PHASES), desc="decode patches", unit="patch")):
                file[row] = [resize_rgb(patch[phase], resolution) for phase in PHASES]
            file.flush()
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return images


def of_part(parts: list[NDArray[Kind]], patch: int) -> NDArray[Kind]:
    """The entry of a patch numbered over all parts."""
    for part in parts:
        if patch < len(part):
            entry: NDArray[Kind] = part[patch]
            return entry
        patch -= len(part)
    raise IndexError(patch)


def to_network(pixels: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
