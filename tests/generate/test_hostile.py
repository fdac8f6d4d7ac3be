"""What generation reads of others: whatever the damage, one message or the right content."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generate.checkpoint import open_base, open_checkpoint
from generate.errors import GenerateError
from generate.generator import load_generator
from generate.images.batch_file import read_batch_file
from generate.images.read import read_header, read_pixels
from generate.output import lines_of
from generate.sampling import Sampling
from generate.satellite import _earlier
from generate.satellite_items import read_items
from models import BaseError
from models.checkpoint import CheckpointError
from tests.damage import byte_damage, hostile, json_damage, seal
from tests.generate.worlds import write_image

REQUEST: dict[str, Any] = {
    "prompt": "a harbour",
    "output": "a.png",
    "metadata": {"lon": 10.0, "lat": 50.0, "gsd": 1.0, "month": 5},
    "steps": 20,
    "guidance": 7.5,
    "size": [64, 64],
    "seed": 3,
}


@pytest.fixture
def checkpoint(run_folder: Path, tmp_path: Path) -> Path:
    """One that may be damaged."""
    return Path(shutil.copytree(next((run_folder / "checkpoints").glob("step-*")), tmp_path / "step-00000010"))


@hostile
@given(data=st.data())
def test_a_checkpoint(checkpoint: Path, data: st.DataObject) -> None:
    """Sealed anew, so that its content alone is judged; nothing is sought on the hub."""
    path = checkpoint / "state.json"
    whole = path.read_bytes()
    path.write_bytes(data.draw(json_damage(json.loads(whole))))
    seal(checkpoint)
    try:
        trained = open_checkpoint(checkpoint)
        base = open_base(trained)
    except CheckpointError as error:
        assert str(checkpoint) in str(error)
    else:
        assert base.has_hash("unet", trained.unet_sha256) and 8 <= trained.resolution <= 8192
    finally:
        path.write_bytes(whole)


@settings(parent=hostile, max_examples=10)
@given(data=st.data())
def test_its_weights(checkpoint: Path, data: st.DataObject) -> None:
    path = (
        checkpoint / "controlnet" / data.draw(st.sampled_from(["config.json", "diffusion_pytorch_model.safetensors"]))
    )
    whole = path.read_bytes()
    damage = byte_damage(whole) if path.suffix == ".safetensors" else json_damage(json.loads(whole))
    path.write_bytes(data.draw(damage))
    seal(checkpoint)
    try:
        trained = open_checkpoint(checkpoint)
        pipeline = load_generator(trained, open_base(trained), Sampling())
    except CheckpointError as error:
        assert str(checkpoint) in str(error)
    else:
        assert pipeline.denoiser.controlnet is not None
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@hostile
@given(data=st.data())
def test_a_batch_file(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    entry = {"pre": "a.png", "prompt": "a town", "name": "mine"}
    path = tmp_path / f"batch.{suffix}"
    path.write_bytes(data.draw(json_damage([entry] if suffix == "json" else entry)))
    try:
        entries = read_batch_file(path, None, "Describe it.")
    except GenerateError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert all("/" not in name and len(text) < 70_000 for _, name, text in entries)


@hostile
@given(data=st.data())
def test_requests(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "requests.json"
    path.write_bytes(data.draw(json_damage([REQUEST])))
    try:
        items = read_items(path)
    except GenerateError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert all(1 <= item.steps < 1000 and 0 <= item.guidance <= 100 and "/" not in item.output for item in items)


@hostile
@given(data=st.data())
def test_lists_of_earlier_runs(tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "a.png").touch()
    line = {"file": "a.png", "seed": 1, "prompt": "a town"}
    (tmp_path / "manifest.jsonl").write_bytes(data.draw(json_damage(line)) + b"\n")
    (tmp_path / "made.json").write_bytes(data.draw(json_damage([{"output": "a.png", "seed": 1}])))
    for read in (lambda: set(lines_of(tmp_path)) - {"a.png"}, lambda: _earlier(tmp_path / "made.json", {"a.png"})):
        try:
            assert all(isinstance(entry, dict) for entry in read())
        except GenerateError as error:
            assert str(tmp_path) in str(error) and "\n" not in str(error)


@hostile
@given(data=st.data())
def test_images(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.png"
    whole = write_image(path, 16).read_bytes()
    path.write_bytes(data.draw(byte_damage(whole)))
    try:
        header = read_header(path)
        pixels = read_pixels(path)
    except GenerateError as error:
        assert str(path) in str(error)
    else:
        assert pixels.shape == (header.height, header.width, 3)


def test_a_base_with_a_name_that_is_none(checkpoint: Path) -> None:
    """Neither a folder nor an id of the hub."""
    for name in ("", "a" * 5000, "../..", "a/b/c", "https://example.com/x", "\n"):
        state = json.loads((checkpoint / "state.json").read_text())
        (checkpoint / "state.json").write_text(json.dumps(state | {"base": state["base"] | {"name": name}}))
        seal(checkpoint)
        with pytest.raises((CheckpointError, BaseError)):
            open_base(open_checkpoint(checkpoint))
