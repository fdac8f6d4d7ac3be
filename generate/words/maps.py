"""Word maps of images that are being sampled, and their files."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from data.storage import whole
from generate.errors import GenerateError
from generate.generator import Generator
from generate.inputs import Pixels
from generate.output import PICTURE, WORDS
from generate.stamp import write_png
from generate.words.asked import places_of
from generate.words.picture import panel_size, picture
from models.attention_maps import AttentionMaps, Grid, attends_to_text, recorded

BOTH = "both"  # UNet and ControlNet, all heads alike
Floats = NDArray[np.float32]
TINY = 1e-30  # of a word that nothing attends to


def maps_for(
    generator: Generator, prompts: Sequence[str], words: Sequence[Sequence[str]], size_px: Grid, *, guided: bool
) -> AttentionMaps | None:
    """Empty maps of the words of each image; None without any word.

    Args:
        generator: what will make the images.
        prompts: of the images.
        words: of each image, each in its prompt.
        size_px: height and width that the networks see.
        guided: they are also asked without caption.

    Raises:
        GenerateError: the networks do not attend to text.
    """
    if not any(words):
        return None
    if not attends_to_text(generator.denoiser.unet):
        raise GenerateError(
            "word_maps: the UNet of this base has no cross-attention to text, so no word has a map. Leave word maps "
            "out, or use a checkpoint on Stable Diffusion."
        )
    chunks = generator.text_chunks
    marked = torch.zeros((len(prompts), max(map(len, words)), chunks * generator.tokenizer.model_max_length))
    for row, (prompt, asked) in enumerate(zip(prompts, words, strict=True)):
        for column, word in enumerate(asked):
            marked[row, column, places_of(generator.tokenizer, prompt, word, chunks)] = 1
    height, width = (side // generator.cell_px for side in size_px)
    return AttentionMaps(marked.to(generator.device), (height, width), guided=guided)


def listening(generator: Generator, maps: AttentionMaps | None) -> AbstractContextManager[None]:
    """Within the block, `maps` record what the networks attend to."""
    denoiser = generator.denoiser
    networks = {"unet": denoiser.unet, "controlnet": denoiser.controlnet}
    there = {name: network for name, network in networks.items() if network is not None}
    return recorded(there, maps) if maps else nullcontext()


def means(found: AttentionMaps) -> dict[str, Floats]:
    """Network -> (B, words, h, w) share of the attention, 0..1; BOTH comes first where two were heard."""
    heard = {BOTH: found.networks} if len(found.networks) > 1 else {}
    heard |= {name: [name] for name in found.networks}
    return {name: found.mean(*networks).cpu().numpy() for name, networks in heard.items()}


def write_maps(
    folder: Path,
    file: str,
    words: Sequence[str],
    maps: Mapping[str, Floats],
    size_px: Grid,
    cell_px: int,
    shown: Pixels,
    made: dict[str, Any],
) -> None:
    """Write every map as 8-bit PNG as large as the image, and one picture of all of them.

    Args:
        folder: of the images; maps lie in its folder `words`.
        file: name of the image.
        words: of the image.
        maps: network -> (words, h, w), possibly of more words than these.
        size_px: height and width of the image.
        cell_px: pixels of the image per cell of the maps, which may reach beyond the image.
        shown: the image, or a smaller one of the same proportions.
        made: how the image was made, written into the files.
    """
    of_image = folder / WORDS / Path(file).stem
    of_image.mkdir(parents=True, exist_ok=True)
    panels: dict[tuple[str, str], Image.Image] = {}
    for network, values in maps.items():
        for word, one in zip(words, values, strict=False):
            highest = float(one.max())  # what 255 stands for
            grey = enlarged(one, size_px, cell_px)
            with whole(of_image / map_file(word, network)) as partial:
                write_png(partial, np.asarray(grey), made | {"word": word, "network": network, "highest": highest})
            panels[word, network] = grey.resize(panel_size(shown.shape[:2]), Image.Resampling.BOX)
    with whole(of_image / PICTURE) as partial:
        write_png(partial, picture(shown, panels), made)


def check_folders(files: Iterable[str]) -> None:
    """Stop unless the maps of every image get a folder of their own.

    Raises:
        GenerateError: naming the two images.
    """
    seen: dict[str, str] = {}
    for file in files:
        if (other := seen.setdefault(Path(file).stem, file)) != file:
            raise GenerateError(
                f"word_maps: the maps of {other} and of {file} would lie in one folder. Give the items other names."
            )


def written(folder: Path, file: str, words: Sequence[str]) -> bool:
    """Whether the maps of an image are there: their picture is written last."""
    return not words or (folder / WORDS / Path(file).stem / PICTURE).is_file()


def map_file(word: str, network: str) -> str:
    """Name of a map's file in the folder of its image."""
    return f"{word.replace(' ', '+')}.{network}.png"


def enlarged(values: Floats, size_px: Grid, cell_px: int) -> Image.Image:
    """A map in 8 bits, its highest value 255, as large as its image."""
    highest, (rows, columns) = float(values.max()), values.shape
    grey = Image.fromarray((values * (255 / max(highest, TINY))).round().astype(np.uint8))
    return grey.resize((columns * cell_px, rows * cell_px), Image.Resampling.BICUBIC).crop((0, 0, *size_px[::-1]))
