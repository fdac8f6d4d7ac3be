"""Word maps against a plain loop that keeps the queries and keys of every layer and step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional as F

from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import Generator, generate_images, load_generator
from generate.inputs import Pixels
from generate.sampling import Sampling
from generate.words.asked import places_of
from generate.words.maps import BOTH, check_folders, listening, maps_for, means
from tests.generate.worlds import write_kind

HEIGHT, WIDTH = 96, 128
STEPS = 2
FIRST = "a town after a flood: a flood"
# Four lines, a piece of 77 tokens each; the last has a word that the first two lack.
LONG = f"{FIRST}\nthe image\na satellite\nof the town after"
WORDS = [["flood", "after a flood"], ["town"], []]


def generator(run: Path, chunks: int, sampling: Sampling) -> Generator:
    """Its networks; captions of so many pieces, whatever it was trained with."""
    trained = open_checkpoint(run)
    return replace(load_generator(trained, open_base(trained), sampling), text_chunks=chunks)


def pre_images() -> list[Pixels]:
    """Three of noise."""
    return list(np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8))


@contextmanager
def keeping_everything(networks: dict[str, Any]) -> Iterator[dict[str, list[tuple[int, Tensor, Tensor]]]]:
    """Network -> heads, queries and keys of every cross-attention of every step, from hooks."""
    kept: dict[str, list[tuple[int, Tensor, Tensor]]] = {name: [] for name in networks}
    handles = []
    for name, network in networks.items():
        for layer in network.modules():
            if not (isinstance(layer, Attention) and layer.is_cross_attention):
                continue

            def keep(module: Attention, args: Any, kwargs: Any, out: Any, into: str = name) -> None:
                hidden, states = args[0] if args else kwargs["hidden_states"], kwargs["encoder_hidden_states"]
                kept[into].append((module.heads, module.to_q(hidden), module.to_k(states)))

            handles.append(layer.register_forward_hook(keep, with_kwargs=True))
    yield kept
    for handle in handles:
        handle.remove()


def plain_map(
    kept: Sequence[tuple[int, Tensor, Tensor]], image: int, places: list[int], *, guided: bool, images: int
) -> Any:
    """Every head of every layer and step enlarged by itself, in float64, then their mean."""
    found = []
    for heads, queries, keys in kept:
        row = image + images * guided
        width = queries.shape[-1] // heads
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            scores = queries[row, :, part].double() @ keys[row, :, part].double().T / width**0.5
            share = (scores.exp() / scores.exp().sum(1, keepdim=True))[:, places].sum(1)
            level = {192: (12, 16), 48: (6, 8)}[len(share)]
            found.append(F.interpolate(share.reshape(1, 1, *level), (12, 16), mode="bicubic")[0, 0])
    return torch.stack(found).mean(0).clamp(min=0).numpy()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> dict[str, Path]:
    """A run of each kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: write_kind(folder / kind, micro_base, kind) for kind in ("controlnet", "lora", "controlnet+lora")}


@pytest.mark.parametrize("kind", ["controlnet", "lora", "controlnet+lora"])
@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_equals_a_loop_that_keeps_everything(
    runs: dict[str, Path], kind: str, chunks: int, guidance_scale: float
) -> None:
    """128 x 96 px, a batch of three of which one has no words; the images are those without maps, to the bit."""
    sampling = Sampling(steps=STEPS, guidance_scale=guidance_scale, control_scale=0.7)
    networks, guided = generator(runs[kind], chunks, sampling), guidance_scale > 1
    prompts = [LONG if chunks > 1 else FIRST, "the town", "a flood"]
    words = [[*WORDS[0], "image"] if chunks > 1 else WORDS[0], *WORDS[1:]]

    def make() -> Pixels:
        return generate_images(networks, pre_images(), prompts, [1, 2, 3], sampling)

    parts = {"unet": networks.denoiser.unet, "controlnet": networks.denoiser.controlnet}
    parts = {name: network for name, network in parts.items() if network is not None}
    with keeping_everything(parts) as kept:
        without = make()
    maps = maps_for(networks, prompts, words, (HEIGHT, WIDTH), guided=guided)
    assert maps
    with listening(networks, maps):
        made = make()
    assert np.array_equal(made, without)
    found = means(maps)
    everything = {BOTH: [entry for of in kept.values() for entry in of], **kept}
    assert set(found) == ({BOTH, "unet", "controlnet"} if len(parts) > 1 else {"unet"})
    for network, values in found.items():
        for image, asked in enumerate(words):
            for column, word in enumerate(asked):
                places = places_of(networks.tokenizer, prompts[image], word, chunks)
                plain = plain_map(everything[network], image, places, guided=guided, images=3)
                np.testing.assert_allclose(values[image, column], plain, rtol=2e-5, atol=1e-7)
                assert plain.std() > 0
    assert not found["unet"][2].any()


def test_a_base_that_reads_no_text(runs: dict[str, Path]) -> None:
    """Its layers attend to themselves only."""
    networks = generator(runs["lora"], 1, Sampling())
    for layer in networks.denoiser.unet.modules():
        if isinstance(layer, Attention):
            layer.is_cross_attention = False
    with pytest.raises(GenerateError, match="the UNet of this base has no cross-attention to text"):
        maps_for(networks, [FIRST], [["flood"]], (32, 32), guided=False)


def test_two_images_never_share_a_folder() -> None:
    """A scene and a patch of one name."""
    with pytest.raises(GenerateError, match=r"the maps of a\.png and of a\.tif would lie in one folder"):
        check_folders(["a.png", "b.png", "a.tif"])
