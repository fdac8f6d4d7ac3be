"""What is cached is what the networks say; what is stale or broken is never read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from data.dataset import open_dataset
from models import load_base
from tests.worlds import write_micro_base
from train.cache import View, cache_latents, cache_text


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_latents_are_the_posterior_of_the_post_image(
    tmp_path: Path, accelerator: Accelerator, tiny_dataset: Path, micro_base: Path
) -> None:
    dataset, base = open_dataset(tiny_dataset, "train"), load_base(micro_base)
    cache = cache_latents(accelerator, tmp_path, base, dataset, [View(2, False), View(2, True)], resolution=32)
    pixels = torch.from_numpy(np.array(dataset[2]["post"])).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        plain, mirrored = (base.load_vae().encode(image).latent_dist for image in (pixels, pixels.flip(-1)))
    torch.testing.assert_close(cache[0]["mean"], plain.mean[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache[0]["std"], plain.std[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache[1]["mean"], mirrored.mean[0], rtol=1e-5, atol=1e-5)


def test_text_states_are_the_encoder_s(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    base = load_base(micro_base)
    cache = cache_text(accelerator, tmp_path, base, ["", "a town after a flood"])
    tokens = base.load_tokenizer()("a town after a flood", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = base.load_text_encoder()(tokens.input_ids).last_hidden_state[0]
    torch.testing.assert_close(cache[1]["states"], expected)


def test_a_full_cache_loads_no_network(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache_text(accelerator, tmp_path, load_base(micro_base), ["one", "two"])

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr("models.base.Base.load_text_encoder", forbidden)
    assert cache_text(accelerator, tmp_path, load_base(micro_base), ["one", "two"]).files == first.files


def test_other_weights_or_texts_have_other_files(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    other = load_base(write_micro_base(tmp_path / "other", seed=9))
    files = [
        cache_text(accelerator, tmp_path, base, texts).files[0]
        for base, texts in [(load_base(micro_base), ["one"]), (other, ["one"]), (load_base(micro_base), ["two"])]
    ]
    assert len(set(files)) == 3


def test_a_broken_file_is_encoded_again(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    path = cache_text(accelerator, tmp_path, load_base(micro_base), ["one"]).files[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert cache_text(accelerator, tmp_path, load_base(micro_base), ["one"]).files == [path]
    assert path.read_bytes() == whole
