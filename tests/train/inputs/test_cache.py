"""What is cached is what the networks say; what is stale or broken is never read."""

import gc
import os
import tempfile
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from data.dataset.open import open_dataset
from models import Base, load_base
from models.text import encode_text, tokenize
from tests.forked import in_two_processes
from tests.train.conftest import Arguments, files_no_larger_than, fingerprints, losses, run
from tests.train.joint_cache import numbered
from tests.worlds import write_micro_base
from train.errors import ConfigError, TrainingError
from train.inputs.cache import PACK, Entries, FileCache, cache_latents, cache_text
from train.inputs.packs import find
from train.inputs.views import images_of
from train.objective import denoising_loss


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


def tokens(base: Base, *texts: str, chunks: int = 1) -> torch.Tensor:
    return tokenize(base.load_tokenizer(), texts, chunks)


def test_text_states_are_the_encoder_s(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    base = load_base(micro_base)
    cache = cache_text(accelerator, tmp_path, base, tokens(base, "", "a town after a flood"))
    ids = base.load_tokenizer()("a town after a flood", padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        expected = base.load_text_encoder()(ids.input_ids).last_hidden_state[0]
    torch.testing.assert_close(cache[1]["states"], expected)


class Encoder:
    """A text encoder that counts what it is given: its states are the token ids."""

    config = types.SimpleNamespace()

    def __init__(self) -> None:
        self.seen: list[int] = []

    def to(self, device: torch.device) -> "Encoder":
        return self

    def __call__(self, ids: torch.Tensor, attention_mask: None = None) -> Any:
        self.seen += ids[:, 0].tolist()
        return (ids[..., None].float(),)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    encoder = Encoder()
    monkeypatch.setattr("models.base.Base.load_text_encoder", lambda base: encoder)
    return encoder


def entries(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers).view(-1, 1, 1).expand(-1, 1, 77)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), max_size=5), st.sampled_from([1, 3, 64]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_whatever_was_wanted_before_nothing_is_encoded_twice(
    micro_base: Path, accelerator: Accelerator, encoder: Encoder, wanted: list[list[int]], pack: int
) -> None:
    """Each run finds its own numbers, in its own order, among those of all runs before it."""
    encoder.seen = []
    with tempfile.TemporaryDirectory() as folder, patch("train.inputs.cache.PACK", pack):
        for numbers in wanted:
            cache = cache_text(accelerator, Path(folder), load_base(micro_base), entries(*numbers))
            assert [int(cache[row]["states"][0, 0]) for row in range(len(numbers))] == numbers
    assert sorted(encoder.seen) == sorted({number for numbers in wanted for number in numbers})


def test_a_start_with_a_full_cache_reads_the_index_alone(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(micro_base)
    first = files(cache_text(accelerator, tmp_path, base, entries(*range(2 * PACK))))
    files(cache_text(accelerator, tmp_path, base, entries(1)))  # the index was up to date only after the look behind it

    def forbidden(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pack was opened")

    monkeypatch.setattr("train.inputs.packs.safe_open", forbidden)
    assert files(cache_text(accelerator, tmp_path, base, entries(*range(2 * PACK)))) == first
    assert len(first) == 2


def test_other_weights_or_tokens_are_other_entries(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    """Also those of another tokenizer for the same text."""
    micro, other = load_base(micro_base), load_base(write_micro_base(tmp_path / "other", seed=9))
    ids = tokens(micro, "one")
    found = []
    for base, given_ids in [(micro, ids), (other, ids), (micro, ids.flip(-1)), (micro, tokens(micro, "one", chunks=2))]:
        cache = cache_text(accelerator, tmp_path / "cache", base, given_ids)
        with torch.no_grad():
            expected = encode_text(base.load_text_encoder(), given_ids)[0]
        torch.testing.assert_close(cache[0]["states"], expected)
        found += files(cache)
    assert len(set(found)) == 4


@pytest.mark.parametrize("spoil", ["cut", "empty", "other index", "broken index", "no index", "old pack"])
def test_what_is_broken_is_encoded_again(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder, spoil: str
) -> None:
    base = load_base(micro_base)
    (path,) = files(cache_text(accelerator, tmp_path, base, entries(4, 5)))
    whole, index = path.read_bytes(), path.with_name("index.json")
    encoder.seen = []
    if spoil == "old pack":
        save_file({"states": torch.zeros(2, 77, 1)}, path)
    elif "index" not in spoil:
        path.write_bytes(whole[: 100 if spoil == "cut" else 0])
    elif spoil == "no index":
        index.unlink()
    else:
        index.write_text('{"x": 1}' if spoil == "other index" else "{")
    cache = cache_text(accelerator, tmp_path, base, entries(4, 5))
    assert (files(cache), path.read_bytes()) == ([path], whole)
    assert encoder.seen == ([] if "index" in spoil else [4, 5])


def test_a_pack_of_zeros_is_named(tmp_path: Path, accelerator: Accelerator, micro_base: Path) -> None:
    """As some disks leave after a loss of power: its size is right."""
    base = load_base(micro_base)
    (path,) = files(cache_text(accelerator, tmp_path, base, tokens(base, "one")))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(TrainingError, match=rf"{path}: .*Delete it"):
        cache_text(accelerator, tmp_path, base, tokens(base, "one"))[0]


def test_a_cache_that_cannot_be_written_is_named_before_a_network_is_loaded(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=r"run\.cache is .*file/cache: .*run\.cache_in to memory"):
        cache_text(accelerator, tmp_path / "file/cache", load_base(micro_base), entries(1))
    assert not encoder.seen


def test_a_full_disk_names_the_file_and_what_is_encoded_stays(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder
) -> None:
    base = load_base(micro_base)
    with pytest.raises(TrainingError, match=r"text/.*\.safetensors: the cache could not be written .*run\.cache"):
        with files_no_larger_than(100_000), patch("train.inputs.cache.PACK", 500):
            cache_text(accelerator, tmp_path, base, entries(*range(700)))
    assert [path.name for path in (tmp_path / "text").iterdir() if not path.name.startswith("index")] == []


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
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one writes the same pack while this one does; both are first in their run."""
    folder, name = tmp_path / "text", "0" * 32
    living, stale = (folder / f".{name}.node-{node}-1.safetensors.partial" for node in "bc")
    written: list[Path] = []

    def meeting(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(tensors, path, metadata)
        save_file(tensors, folder / f"{path.name.split('.')[1]}.safetensors", metadata)  # the other one was quicker
        written.append(path)

    folder.mkdir()
    for path in (living, stale, folder / "mine.partial"):
        path.write_bytes(b"half a file")
    for path in (stale, folder / "mine.partial"):
        os.utime(path, (0, 0))
    monkeypatch.setattr("train.inputs.packs.save_file", meeting)
    cache = cache_text(accelerator, tmp_path, load_base(micro_base), entries(7))
    assert cache[0]["states"].shape == (77, 1)
    assert str(os.getpid()) in written[0].name
    assert living.exists() and not stale.exists() and (folder / "mine.partial").exists()


def test_what_another_run_wrote_meanwhile_leaves_no_hole(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path, encoder: Encoder
) -> None:
    """The second of two processes looks late: what the first one decided still holds for it, and no file is missed."""
    base, late = load_base(micro_base), [True]

    def look(folder: Path, keys: list[str]) -> Any:
        found = find(folder, keys)
        if late.pop() if late else False:  # just behind the look, the other run writes all
            cache_text(accelerator, tmp_path, base, entries(1, 2, 3))
        return found

    with patch("train.inputs.cache.find", look):
        cache = cache_text(accelerator, tmp_path, base, entries(1, 2, 3))
    assert [int(cache[row]["states"][0, 0]) for row in range(3)] == [1, 2, 3]


def test_two_processes_write_each_pack_once_and_go_on_where_they_stopped(
    tmp_path: Path, accelerator: Accelerator, micro_base: Path
) -> None:
    """Every pack is written by one process, and what is there already by none."""
    number, base = 5 * PACK, load_base(micro_base)
    ids = numbered(number)
    first = files(cache_text(accelerator, tmp_path, base, ids))
    kept = first[0]
    for path in first[1:]:
        path.unlink()
    written = kept.stat().st_mtime_ns
    in_two_processes("tests.train.joint_cache", str(micro_base), str(tmp_path), str(number))
    assert kept.stat().st_mtime_ns == written
    again = cache_text(accelerator, tmp_path, base, ids)
    wrote = [(tmp_path / f"wrote-{rank}").read_text().split() for rank in (0, 1)]
    assert [len(names) for names in wrote] == [2, 2]
    assert sorted(wrote[0] + wrote[1]) == sorted(path.stem for path in files(again) if path != kept)
    assert len(files(again)) == len(first) == 5
