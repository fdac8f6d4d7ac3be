"""A checkpoint is whole or absent, and only whole ones are used."""

import json
from pathlib import Path

import pytest

from models.checkpoint import (
    CheckpointError,
    fault_of,
    newest_valid,
    read_state,
    resolve_checkpoint,
    step_folder,
    write_checkpoint,
)


def write(run: Path, step: int) -> Path:
    folder = step_folder(run / "checkpoints", step)

    def write_files(partial: Path) -> None:
        (partial / "optimizer.safetensors").write_bytes(b"w" * step)

    write_checkpoint(folder, {"step": step}, write_files)
    return folder


def test_what_is_written_is_described_by_hashes(tmp_path: Path) -> None:
    folder = write(tmp_path, 2)
    assert folder.name == "step-00000002"
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    # printf ww | sha256sum
    digest = "b84ff8057ee3a7f87deac4ae29ac59292f02e6c28f987031648011018384d888"
    assert manifest["optimizer.safetensors"] == {"sha256": digest, "bytes": 2}
    assert read_state(folder) == {"step": 2}
    assert fault_of(folder) is None


def test_every_kind_of_damage_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path, 2)
    (folder / "optimizer.safetensors").write_bytes(b"wx")
    assert fault_of(folder) == "optimizer.safetensors differs from its hash in MANIFEST.json"
    (folder / "optimizer.safetensors").unlink()
    assert fault_of(folder) == "optimizer.safetensors is missing"
    (folder / "MANIFEST.json").write_text("{")
    assert str(fault_of(folder)).startswith("MANIFEST.json: not valid JSON")
    (folder / "MANIFEST.json").unlink()
    assert fault_of(folder) == "MANIFEST.json is missing"


def test_the_newest_valid_one_is_taken(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write(tmp_path, step)
    (step_folder(tmp_path / "checkpoints", 10) / "optimizer.safetensors").unlink()
    (tmp_path / "checkpoints" / "step-notes").mkdir()
    passed_over: list[str] = []
    assert newest_valid(tmp_path / "checkpoints", passed_over.append) == step_folder(tmp_path / "checkpoints", 2)
    assert len(passed_over) == 1 and "optimizer.safetensors is missing" in passed_over[0]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        (partial / "optimizer.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(step_folder(tmp_path, 1), {}, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_user_may_name_the_run_or_the_step(tmp_path: Path) -> None:
    folder = write(tmp_path, 3)
    assert resolve_checkpoint(tmp_path) == resolve_checkpoint(folder) == folder


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_what_is_no_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=name):
        resolve_checkpoint(tmp_path / name)
