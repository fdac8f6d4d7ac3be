"""Weights of a base in every layout there is: found, checked, hashed, and fetched from the hub."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel

from models import BaseError, load_base
from models.base import TINY
from models.convert import convert
from models.weight_files import PICKLE, SAFE, find_layout, weight_files
from tests.models.test_base import STEMS, edit

KINDS = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}


def weights_of(folder: Path, part: str) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(folder / part / f"{STEMS[part]}.safetensors")
    return weights


def rewrite(base: Path, write: Callable[[Path, str, str, dict[str, Tensor]], Any]) -> None:
    """Save every part's weights in another layout instead; `write` is given folder, part, stem and weights."""
    for part, stem in STEMS.items():
        weights = weights_of(base, part)
        (base / part / f"{stem}.safetensors").unlink()
        write(base / part, part, stem, weights)


def half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.half() for name, weight in weights.items()}


def sharded(variant: str | None) -> Callable[[Path, str, str, dict[str, Tensor]], Any]:
    def write(folder: Path, part: str, stem: str, weights: dict[str, Tensor]) -> None:
        network = KINDS[part].from_config(KINDS[part].load_config(folder)) if part != "text_encoder" else None
        if network is None:
            network = CLIPTextModel(CLIPTextModel.config_class.from_pretrained(folder))
        network.load_state_dict(weights)
        network.save_pretrained(folder, max_shard_size="40KB", variant=variant)
        assert len(list(folder.glob("*-of-*"))) > 2 and not (folder / f"{stem}.safetensors").exists()

    return write


LAYOUTS: dict[str, Callable[[Path, str, str, dict[str, Tensor]], Any]] = {
    "fp16 alone": lambda folder, _, stem, weights: save_file(half(weights), folder / f"{stem}.fp16.safetensors"),
    "shards": sharded(None),
    "shards of fp16": sharded("fp16"),
}


PICKLED: dict[str, Callable[[Path, str, str, dict[str, Tensor]], Any]] = {
    "bin": lambda folder, _, stem, weights: torch.save(weights, folder / f"{old(stem)}.bin"),
    "fp16.bin": lambda folder, _, stem, weights: torch.save(half(weights), folder / f"{old(stem)}.fp16.bin"),
    "shards of bin": lambda folder, _, stem, weights: pickled_shards(folder, old(stem), weights),
}


def old(stem: str) -> str:
    return stem.replace("model", "pytorch_model") if stem == "model" else stem


def pickled_shards(folder: Path, stem: str, weights: dict[str, Tensor]) -> None:
    names = sorted(weights)
    places = {name: f"{stem}-0000{1 + index % 2}-of-00002.bin" for index, name in enumerate(names)}
    for file in set(places.values()):
        torch.save({name: weights[name] for name in names if places[name] == file}, folder / file)
    (folder / f"{stem}.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


@pytest.mark.parametrize("layout", [*LAYOUTS, *PICKLED])
def test_every_layout_that_diffusers_writes_is_read(base: Path, micro_base: Path, tmp_path: Path, layout: str) -> None:
    """As it lies or after `convert`: the values of the original file, in the precision of the layout."""
    rewrite(base, (LAYOUTS | PICKLED)[layout])
    folders = [tmp_path / "clean"] if layout in PICKLED else [base, tmp_path / "clean"]
    if layout in PICKLED:
        with pytest.raises(BaseError, match=rf"Only \.bin weights.*pre2post convert --source {base}"):
            load_base(base)
    convert(source=base, out=tmp_path / "clean")
    for folder in folders:
        loaded = load_base(folder)
        for part, load in (
            ("vae", loaded.load_vae), ("unet", loaded.load_unet), ("text_encoder", loaded.load_text_encoder)
        ):  # fmt: skip
            right, found = weights_of(micro_base, part), load().state_dict()
            right = {name: half(right)[name].float() if "fp16." in layout or "fp16 " in layout else x
                     for name, x in right.items()}  # fmt: skip
            assert right.keys() == found.keys()
            assert all(torch.equal(found[name], right[name]) for name in right)


def test_the_most_exact_weights_are_taken_and_a_pickle_beside_them_is_not_opened(base: Path, micro_base: Path) -> None:
    """The same file is hashed and loaded, whatever lies beside it."""
    noted = load_base(base).weights_hash("unet")
    weights = weights_of(base, "unet")
    wrong = {name: weight + 1 for name, weight in weights.items()}
    save_file(half(wrong), base / "unet/diffusion_pytorch_model.fp16.safetensors")
    save_file(wrong, base / "unet/diffusion_pytorch_model.non_ema.safetensors")
    (base / "unet/diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    assert load_base(base).weights_hash("unet") == noted
    found = load_base(base).load_unet().state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def cut(folder: Path) -> Path:
    path = folder / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return path


def pointer(folder: Path) -> Path:
    path = folder / "diffusion_pytorch_model.safetensors"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3438167536\n")
    return path


def without(pattern: str) -> Callable[[Path], Path]:
    def damage(folder: Path) -> Path:
        UNet2DConditionModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="40KB")
        (folder / "diffusion_pytorch_model.safetensors").unlink()
        path = sorted(folder.glob(pattern))[1 if "of" in pattern else 0]
        path.unlink()
        return path

    return damage


def outside(folder: Path) -> Path:
    path = folder / "diffusion_pytorch_model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"conv_in.weight": "../vae/diffusion_pytorch_model.safetensors"}}))
    return path


def other_network(folder: Path) -> Path:
    path = folder / "diffusion_pytorch_model.safetensors"
    save_file({"conv_in.weight": torch.zeros(1)}, path)
    return folder


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "truncated"),
        (pointer, "git lfs pull"),
        (without("*-of-*"), "is missing, 1 of the"),
        (without("*.index.json"), "not the index"),
        (outside, "not an index of weights"),
        (other_network, "should be of shape"),
    ],
)
def test_damaged_weights_are_named_before_anything_is_loaded(
    base: Path, damage: Callable[[Path], Path], said: str
) -> None:
    path = damage(base / "unet")
    with pytest.raises(BaseError) as raised:
        load_base(base)
    assert said in str(raised.value) and path.name.partition(".index")[0].partition(".")[0] in str(raised.value)


def test_weights_that_a_library_does_not_find_are_no_random_numbers(
    micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some versions of transformers look for a text encoder's tensors under other names, and only warn."""
    base = load_base(micro_base)
    loading = {"missing_keys": {"embeddings.position_ids", "embeddings.token_embedding.weight"}}
    monkeypatch.setattr(CLIPTextModel, "from_pretrained", lambda *_, **__: (None, loading))
    with pytest.raises(BaseError, match=r"text_encoder: .*does not find embeddings\.token_embedding\.weight"):
        base.load_text_encoder()


def test_a_single_file_is_told_how_it_becomes_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "v1-5-pruned.safetensors"
    path.write_bytes(b"")
    for name in (path, tmp_path):
        with pytest.raises(BaseError, match=r"v1-5-pruned\.safetensors is a checkpoint in a single file.*from_single"):
            load_base(name)
    with pytest.raises(BaseError, match="single file"):
        convert(source=path, out=tmp_path / "out")


def test_names_of_the_layouts() -> None:
    """As `save_pretrained(variant=..., max_shard_size=...)` of diffusers and transformers writes them."""
    names = ["model.fp16.safetensors", "model.safetensors.index.fp16.json", "pytorch_model.bin", "config.json"]
    assert find_layout(names) and find_layout(names).file == "model.fp16.safetensors"  # type: ignore[union-attr]
    assert find_layout(names[1:]).variant == "fp16"  # type: ignore[union-attr]
    assert find_layout(names[2:]) is None and find_layout(names[2:], PICKLE)
    assert find_layout(["diffusion_pytorch_model.non_ema.safetensors", "v1-5.safetensors"], SAFE) is None


def test_the_same_tensors_have_the_same_hash(base: Path, micro_base: Path, tmp_path: Path) -> None:
    """Converted, in shards, with more files beside, under the names of older libraries, in float32 for float16."""
    rewrite(base, lambda folder, _, stem, weights: save_file(half(weights), folder / f"{stem}.safetensors"))
    noted = {part: load_base(base).weights_hash(part) for part in STEMS}
    convert(source=base, out=tmp_path / "clean")
    rewrite(base, as_before)
    other = shutil.copytree(base, tmp_path / "shards")
    UNet2DConditionModel.from_pretrained(base / "unet", torch_dtype=torch.float16).save_pretrained(
        tmp_path / "saved", max_shard_size="40KB"
    )
    shutil.rmtree(other / "unet")
    (tmp_path / "saved").rename(other / "unet")
    for folder in (base, other, tmp_path / "clean"):
        assert {part: load_base(folder).weights_hash(part) for part in STEMS} == noted, folder
    assert noted["unet"] != load_base(micro_base).weights_hash("unet")  # float32 values that were rounded


def as_before(folder: Path, part: str, stem: str, weights: dict[str, Tensor]) -> None:
    """In float32, a text encoder under the names of older libraries and with their buffer."""
    weights = {name: weight.float() for name, weight in weights.items()}
    if part == "text_encoder":
        weights = {f"text_model.{name.removeprefix('text_model.')}": weight for name, weight in weights.items()}
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(weights, folder / f"{stem}.safetensors")


@pytest.mark.parametrize("change", ["value", "name", "shape", "order"])
def test_other_tensors_have_another_hash(base: Path, change: str) -> None:
    noted, weights = load_base(base).weights_hash("unet"), weights_of(base, "unet")
    path = base / "unet/diffusion_pytorch_model.safetensors"
    if change == "value":
        weights["conv_in.bias"][-1] += 1e-7
    if change == "name":
        one, two = "mid_block.resnets.0.conv1.bias", "mid_block.resnets.0.conv2.bias"
        weights[one], weights[two] = weights[two].clone() + 1, weights[one].clone() + 1
    if change == "shape":
        weights["conv_in.bias"] = weights["conv_in.bias"][None]
    if change == "order":  # of the tensors in the file: the same network
        weights = dict(reversed(weights.items()))
    save_file(weights, path)
    opened = load_base(base) if change != "shape" else None
    if opened:
        assert (opened.weights_hash("unet") == noted) == (change == "order")
        return
    with pytest.raises(BaseError, match=r"conv_in\.bias should be of shape \(16,\), and is \(1, 16\)"):
        load_base(base)


def test_what_was_noted_before_is_still_known(base: Path) -> None:
    """By the rule of earlier checkpoints, written out: the hash over the hashes of config and weight files."""
    files = [base / "unet/config.json", base / "unet/diffusion_pytorch_model.safetensors"]
    hashes = "".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    noted = hashlib.sha256(hashes.encode()).hexdigest()
    opened = load_base(base)
    assert opened.has_hash("unet", noted) and opened.has_hash("unet", opened.weights_hash("unet"))
    assert not opened.has_hash("unet", "0" * 64) and noted != opened.weights_hash("unet")


def test_of_the_hub_only_what_is_used_is_fetched(base: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Config files first; no pickles, no variants, nothing of other parts; and nothing more of an unfit base."""
    rewrite(base, LAYOUTS["shards of fp16"])
    (base / "unet/diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (base / "unet/diffusion_pytorch_model.non_ema.safetensors").write_bytes(b"not used")
    (base / "safety_checker").mkdir()
    (base / "safety_checker/model.safetensors").write_bytes(b"not used")
    hub, cache = sorted(str(path.relative_to(base)) for path in base.rglob("*") if path.is_file()), tmp_path / "cache"
    calls: list[list[str]] = []

    def snapshot(name: str, allow_patterns: list[str] | None = None, local_files_only: bool = False) -> str:
        calls.append(allow_patterns or [])
        for file in allow_patterns or []:
            (cache / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / file, cache / file)
        return str(cache)

    monkeypatch.setattr("models.hub.snapshot_download", snapshot)
    monkeypatch.setattr("models.hub.list_repo_files", lambda name: hub)
    unet = load_base("someone/base").load_unet()
    right = UNet2DConditionModel.from_pretrained(base / "unet", variant="fp16", use_safetensors=True)
    assert all(torch.equal(weight, unet.state_dict()[name]) for name, weight in right.state_dict().items())
    assert not [file for file in calls[0] if not file.endswith((".json", ".txt"))]
    fetched = [file for call in calls for file in call]
    assert not [file for file in fetched if "safety_checker/model" in file or "non_ema" in file or ".bin" in file]

    shutil.rmtree(cache)
    calls.clear()
    edit(base, "unet", in_channels=9)
    with pytest.raises(BaseError, match="inpainting"):
        load_base("someone/base")
    assert len(calls) == 1


def test_weight_files_of_the_shipped_base() -> None:
    assert [path.name for path in weight_files(TINY / "unet")] == ["diffusion_pytorch_model.safetensors"]
