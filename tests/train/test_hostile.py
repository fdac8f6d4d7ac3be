"""What a training reads of an earlier one: whatever the damage, one message or the right content."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import CheckpointError, newest_valid, step_folder
from tests.damage import byte_damage, hostile, json_damage, seal
from tests.models.test_hostile import STATE, write
from train.config_file import parse_config
from train.errors import ConfigError
from train.loop import train
from train.saving.retention import is_complete, lowest_loss
from train.saving.run_files import read_metrics


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_dataset: Path, micro_base: Path) -> list[str]:
    """The command line of a run that has done two steps."""
    out = tmp_path_factory.mktemp("begun")
    words = {"data.dataset": tiny_dataset, "model.base": micro_base, "train.steps": 2, "train.global_batch": 2}
    words |= {"train.micro_batch": 2, "train.warmup_steps": 0, "train.precision": "fp32", "run.workers": 0}
    words |= {"run.out": out / "run", "run.cache": out / "cache", "run.trackers": "[]"}
    line = [f"--{name}={value}" for name, value in words.items()]
    train(parse_config(line))
    return line


@settings(parent=hostile, max_examples=6)
@given(data=st.data())
def test_what_a_run_goes_on_from(
    begun: list[str], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Sealed anew, so that its content alone is judged."""
    here = tmp_path_factory.mktemp("again") / "run"
    shutil.copytree(parse_config(begun).run.out, here, symlinks=True)
    (checkpoint,) = (here / "checkpoints").glob("step-*")
    name = data.draw(st.sampled_from(["optimizer.safetensors", "state.json", "controlnet/config.json"]))
    path = checkpoint / name
    whole = path.read_bytes()
    path.write_bytes(data.draw(json_damage(json.loads(whole)) if name.endswith("json") else byte_damage(whole)))
    seal(checkpoint)
    again = [*begun, f"--run.out={here}", "--train.steps=3"]
    try:
        train(parse_config(again))
    except (CheckpointError, ConfigError) as error:
        assert str(here) in str(error)
    else:
        assert read_metrics(here)[-1]["step"] == 3


@hostile
@given(data=st.data())
def test_what_is_kept(tmp_path: Path, data: st.DataObject) -> None:
    """A damaged checkpoint is no candidate, and stops nothing."""
    folder = write(step_folder(tmp_path, 10))
    name = data.draw(st.sampled_from(["state.json", "MANIFEST.json"]))
    content = data.draw(json_damage({**STATE, "validation_loss": 0.5} if name == "state.json" else LISTED))
    (folder / name).write_bytes(content)
    if name == "state.json":
        seal(folder)
    assert is_complete(folder) in (True, False)
    assert lowest_loss(tmp_path, 20) > 0 or math.isfinite(lowest_loss(tmp_path, 20))
    newest_valid(tmp_path, lambda line: None)


@hostile
@given(data=st.data())
def test_metrics(tmp_path: Path, data: st.DataObject) -> None:
    lines = [data.draw(json_damage({"step": 1, "loss": 0.5})), b'{"step": 2}']
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    try:
        found = read_metrics(tmp_path)
    except ConfigError as error:
        assert "metrics.jsonl: line" in str(error)
    else:
        assert all(isinstance(line["step"], int) for line in found)


LISTED: dict[str, Any] = {"state.json": {"sha256": "0" * 64, "bytes": 700}, "controlnet/config.json": {"sha256": "0"}}
