"""Weights lie in memory of their own: how a file is laid out changes no bit of what they predict."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models import controlnet_from_unet, load_base, load_controlnet
from models.base import TINY
from models.convert import convert

ALIGNMENT = 64  # bytes: a cache line, and a register of the widest units


def relaid(folder: Path, out: Path, fillers: int) -> Path:
    """A copy whose weight files hold the same tensors, `8 * fillers` bytes further back."""
    shutil.copytree(folder, out)
    for path in out.rglob("*.safetensors"):
        save_file(load_file(path), path, metadata={"format": "pt", "filler": "x" * 8 * fillers})
    return out


def predictions(folder: Path) -> dict[str, Tensor]:
    """Of every network of a base, at inputs that are always the same."""
    base = load_base(folder)
    generator = torch.Generator().manual_seed(0)
    channels, side = base.config("unet")["in_channels"], 4
    noisy = torch.randn(1, channels, side, side, generator=generator)
    pixels = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    tokens = torch.arange(77)[None]
    with torch.no_grad():
        states = base.load_text_encoder()(tokens).last_hidden_state
        return {
            "text": states,
            "unet": base.load_unet()(noisy, 500, states).sample,
            "vae": base.load_vae().encode(pixels).latent_dist.mean,
        }


def test_no_layout_of_a_file_changes_a_bit(tmp_path: Path) -> None:
    """A base in float32, as loaded: its sharded copy, its converted copy, and copies at every other alignment."""
    plain, sharded = shutil.copytree(TINY, tmp_path / "plain"), tmp_path / "sharded"
    for path in plain.rglob("*.safetensors"):
        save_file({name: weight.float() for name, weight in load_file(path).items()}, path, metadata={"format": "pt"})
    shutil.copytree(plain, sharded, ignore=shutil.ignore_patterns("unet"))
    load_base(plain).load_unet().save_pretrained(sharded / "unet", max_shard_size="2MB")
    assert len(list((sharded / "unet").glob("*.safetensors"))) > 5
    convert(source=plain, out=tmp_path / "converted")
    expected = predictions(plain)
    for folder in (sharded, tmp_path / "converted", *(relaid(plain, tmp_path / f"{n}", n) for n in range(1, 8))):
        found = predictions(folder)
        assert all(torch.equal(found[name], expected[name]) for name in expected), folder


@pytest.mark.parametrize("fillers", range(8))
def test_no_weight_is_a_view_of_its_file(tmp_path: Path, micro_base: Path, fillers: int) -> None:
    """In float32, as these files are, nothing is converted on the way: the tensors would be the memory map's."""
    base = load_base(relaid(micro_base, tmp_path / "base", fillers))
    unet = base.load_unet()
    controlnet_from_unet(unet, vae_scale_factor=8, seed=0).save_pretrained(tmp_path / "controlnet")
    controlnet = load_controlnet(relaid(tmp_path / "controlnet", tmp_path / "relaid", fillers))
    for network in (unet, base.load_vae(), base.load_text_encoder(), controlnet):
        assert not [name for name, weight in network.state_dict().items() if weight.data_ptr() % ALIGNMENT]
