"""What is cached is what the networks say; what is stale or broken is never read."""

import gc
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from data.dataset import open_dataset
from models import Base, load_base
from tests.train.conftest import Arguments, fingerprints, losses, run
from tests.worlds import torchrun, write_micro_base
from train.cache import CHUNK, Entries, FileCache, cache_latents, cache_text
from train.objective import denoising_loss
from train.views import images_of


def files(cache: Entries) -> list[Path]:
    assert isinstance(cache, FileCache)
    return cache.files


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


@pytest.mark.parametrize("on_disk", [True, False])
def test_latents_are_the_posterior_of_the_image(
    tmp_path: Path, accelerator: Accelerator, tiny_dataset: Path, micro_base: Path, on_disk: bool
) -> None:
    dataset, base = open_dataset(tiny_dataset, "train"), load_base(micro_base)
    images = images_of(dataset, [("post", False), ("post", True), ("pre", False)], 32)
    cache = cache_latents(accelerator, tmp_path if on_disk else None, base, images, resolution=32)
    assert list(tmp_path.iterdir()) == ([tmp_path / "latents"] if on_disk else [])
    post, pre = (torch.from_numpy(np.array(dataset[2][phase])).permute(2, 0, 1)[None] for phase in ("post", "pre"))
    with torch.no_grad():
        for row, pixels in ((2, post), (len(dataset) + 2, post.flip(-1)), (2 * len(dataset) + 2, pre)):
            posterior = base.load_vae().encode(pixels / 127.5 - 1).latent_dist
            torch.testing.assert_close(cache[row]["mean"], posterior.mean[0], rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(cache[row]["std"], posterior.std[0], rtol=1e-5, atol=1e-5)


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
    first = files(cache_text(accelerator, tmp_path, load_base(micro_base), ["one", "two"]))

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the text encoder was loaded")

    monkeypatch.setattr("models.base.Base.load_text_encoder", forbidden)
    assert files(cache_text(accelerator, tmp_path, load_base(micro_base), ["one", "two"])) == first


def test_other_weights_or_texts_have_other_files(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    other = load_base(write_micro_base(tmp_path / "other", seed=9))
    micro = load_base(micro_base)
    found = [
        files(cache_text(accelerator, tmp_path, base, [text], chunks))[0]
        for base, text, chunks in [(micro, "one", 1), (other, "one", 1), (micro, "two", 1), (micro, "one", 2)]
    ]
    assert len(set(found)) == 4


def test_a_broken_file_is_encoded_again(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    (path,) = files(cache_text(accelerator, tmp_path, load_base(micro_base), ["one"]))
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert files(cache_text(accelerator, tmp_path, load_base(micro_base), ["one"])) == [path]
    assert path.read_bytes() == whole


def test_with_and_without_the_cache_the_losses_are_the_same(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with it neither VAE nor text encoder is in memory while training."""
    options = ["--model.condition=latents", "--data.direction=both", "--data.caption_styles={long: 1}"]
    options += ["--data.text_chunks=3", "--train.steps=3"]
    loaded: list[weakref.ref[Any]] = []
    alive: dict[str, int] = {}
    for name in ("load_vae", "load_text_encoder"):
        original: Callable[[Base], Any] = getattr(Base, name)

        def remembering(base: Base, load: Callable[[Base], Any] = original) -> Any:
            network = load(base)
            loaded.append(weakref.ref(network))
            return network

        monkeypatch.setattr(Base, name, remembering)

    for where in ("off", "memory", "disk"):
        loaded.clear()

        def counting(*args: Any, where: str = where, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            gc.collect()
            alive[where] = sum(network() is not None for network in loaded)
            return denoising_loss(*args, **kwargs)

        monkeypatch.setattr("train.loop.denoising_loss", counting)
        run(arguments(where, f"--run.cache_in={where}", *options))
    assert alive == {"off": 2, "memory": 0, "disk": 0}
    assert fingerprints(tmp_path / "off") == fingerprints(tmp_path / "memory") == fingerprints(tmp_path / "disk")
    assert losses(tmp_path / "off") == pytest.approx(losses(tmp_path / "disk"), rel=1e-5)
    assert losses(tmp_path / "memory") == pytest.approx(losses(tmp_path / "disk"), rel=1e-5)


def test_two_runs_that_fill_one_cache_at_once_do_not_meet(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes the same chunk while this one does; both are first in their run."""
    other = tmp_path / "text" / "other.partial-node-b-1"
    stale = tmp_path / "text" / "stale.partial-node-c-1"
    written: list[Path] = []

    def meeting(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file(tensors, path)
        save_file(tensors, path.with_name(path.name.partition(".")[0] + ".safetensors"))  # the other one was quicker
        written.append(path)

    other.parent.mkdir()
    for path in (other, stale):
        path.write_bytes(b"half a file")
    os.utime(stale, (0, 0))
    monkeypatch.setattr("train.cache.save_file", meeting)
    cache = cache_text(accelerator, tmp_path, load_base(micro_base), ["one"])
    assert cache[0]["states"].shape == (77, 64)
    assert str(os.getpid()) in written[0].name
    assert other.exists() and not stale.exists()


def test_two_processes_write_each_chunk_once_and_go_on_where_they_stopped(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path
) -> None:
    """Every file is written by one process, and what is there already by none."""
    texts = [f"text {number}" for number in range(5 * CHUNK)]
    first = files(cache_text(accelerator, tmp_path, load_base(micro_base), texts))
    whole = {path: path.read_bytes() for path in first}
    for path in first[1:]:
        path.unlink()
    kept = first[0].stat().st_mtime_ns
    torchrun("tests.train.joint_cache", str(micro_base), str(tmp_path), str(len(texts)))
    assert first[0].stat().st_mtime_ns == kept
    assert {path: path.read_bytes() for path in first} == whole
    wrote = [(tmp_path / f"wrote-{rank}").read_text().split() for rank in (0, 1)]
    assert [len(names) for names in wrote] == [2, 2]
    assert sorted(wrote[0] + wrote[1]) == sorted(path.stem for path in first[1:])
