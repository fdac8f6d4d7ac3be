"""Checkpoints and networks of others: whatever the damage, one message or the right content."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from models import BaseError, load_base, load_controlnet
from models.checkpoint import (
    CheckpointError,
    fault_of,
    resolve_checkpoint,
    step_folder,
    trained_state,
    write_checkpoint,
)
from models.families.stable_diffusion import StableDiffusion
from models.lora import FILE, add_lora, check_lora, save_lora
from tests.damage import byte_damage, hostile, json_damage, seal
from tests.generate.worlds import write_micro_checkpoint

STATE: dict[str, Any] = {
    "format": 2,
    "step": 10,
    "base": {"name": "tiny", "unet_sha256": "0" * 64},
    "dataset_fingerprint": "0" * 64,
    "resolution": 64,
    "patch_px": 128,
    "caption_style": "short",
    "trained": "controlnet",
    "condition": "pixels",
    "metadata": "none",
    "direction": "future",
    "sequence": 1,
    "text_chunks": 1,
    "zero_terminal_snr": False,
    "config": {"data": {"split": "train", "leave_out": ["a"]}, "train": {"steps": 10}},
}


def write(folder: Path) -> Path:
    """A checkpoint whose files nothing looks into."""

    def write_files(partial: Path) -> None:
        (partial / "controlnet").mkdir()
        (partial / "controlnet" / "config.json").write_text("{}")
        (partial / "controlnet" / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")

    write_checkpoint(folder, STATE, write_files)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A checkpoint with a real ControlNet."""
    run = write_micro_checkpoint(tmp_path_factory.mktemp("runs") / "run", micro_base)
    return next((run / "checkpoints").glob("step-*"))


@hostile
@given(content=json_damage(STATE))
def test_state_json(tmp_path: Path, content: bytes) -> None:
    folder = write(step_folder(tmp_path, 10))
    (folder / "state.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"state\.json"):
        resolve_checkpoint(folder)  # it differs from its hash, or is none
    seal(folder)
    try:
        state = trained_state(resolve_checkpoint(folder))
    except CheckpointError as error:
        assert str(folder) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert 8 <= state["resolution"] <= 8192 and 1 <= state["text_chunks"] <= 64


@hostile
@given(data=st.data())
def test_manifest_json(tmp_path: Path, data: st.DataObject) -> None:
    """Any change of its content is a fault of the checkpoint."""
    folder = write(step_folder(tmp_path, 10))
    listed = json.loads((folder / "MANIFEST.json").read_text())
    content = data.draw(json_damage(listed))
    (folder / "MANIFEST.json").write_bytes(content)
    try:
        same = json.loads(content) == listed
    except (ValueError, RecursionError):
        same = False
    assert (fault_of(folder) is None) == same


def test_a_manifest_that_leaves_the_weights_out(tmp_path: Path) -> None:
    """What is not listed is not trusted; files of the user's are let be."""
    folder = write(step_folder(tmp_path, 10))
    (folder / "notes.txt").write_text("mine")
    assert fault_of(folder) is None
    listed = json.loads((folder / "MANIFEST.json").read_text())
    for name in listed:
        (folder / "MANIFEST.json").write_text(json.dumps({other: listed[other] for other in listed if other != name}))
        assert fault_of(folder) == f"MANIFEST.json does not list {name}"


@hostile
@given(data=st.data())
def test_weights(trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = Path(shutil.copytree(trained / "controlnet", tmp_path_factory.mktemp("net") / "controlnet"))
    file = folder / "diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(data.draw(byte_damage(whole[:4000]).map(lambda head: head + whole[4000:]) | byte_damage(whole)))
    try:
        load_controlnet(folder)
    except BaseError as error:
        assert str(folder) in str(error)


@hostile
@given(data=st.data())
def test_config_of_a_controlnet(trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = Path(shutil.copytree(trained / "controlnet", tmp_path_factory.mktemp("net") / "controlnet"))
    path = folder / "config.json"
    path.write_bytes(data.draw(json_damage(json.loads(path.read_text()))))
    try:
        load_controlnet(folder)
    except BaseError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize("kind", ["missing", "another shape"])
def test_weights_of_another_network(trained: Path, tmp_path: Path, kind: str) -> None:
    """diffusers fills up what is missing with random numbers, and warns."""
    folder = Path(shutil.copytree(trained / "controlnet", tmp_path / "controlnet"))
    file = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weight = weights.pop("conv_in.weight")
    save_file(weights if kind == "missing" else weights | {"conv_in.weight": weight[:1].contiguous()}, file)
    with pytest.raises(BaseError, match=r"conv_in\.weight should be of shape"):
        load_controlnet(folder)


def test_lora_of_another_base(micro_base: Path, tmp_path: Path) -> None:
    """diffusers leaves out what fits nowhere, and warns."""
    unet = load_base(micro_base).load_unet()
    add_lora(unet, rank=2, alpha=2, targets=["to_q"], seed=0)
    save_lora(
        tmp_path, StableDiffusion(), unet, {name: weight for name, weight in unet.named_parameters() if "lora_" in name}
    )
    plain = load_base(micro_base).load_unet()
    check_lora(tmp_path, plain, "unet")
    weights = load_file(tmp_path / FILE)
    first = next(name for name in weights if "lora_A" in name)
    for other, said in (
        ({first.replace("to_q", "to_x"): weights[first]}, "fits no layer"),
        ({first: torch.zeros(2, 7)}, "fits no layer"),
        ({first: torch.zeros(3, weights[first].shape[1])}, "factors of ranks"),
    ):
        save_file({name: weight for name, weight in weights.items() if name != first} | other, tmp_path / FILE)
        with pytest.raises(ValueError, match=said):
            check_lora(tmp_path, plain, "unet")
    save_file(weights, tmp_path / FILE, metadata={"lora_adapter_metadata": '{"unet.r": 1000000, "unet.lora_alpha": 2}'})
    with pytest.raises(ValueError, match="its header says rank 1000000"):
        check_lora(tmp_path, plain, "unet")
