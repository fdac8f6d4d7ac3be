"""What may be generated with: intact checkpoints on the base of their training."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.storage import sha256
from generate.checkpoint import open_base, open_checkpoint
from models import BaseError
from models.checkpoint import CheckpointError, read_state, step_folder, write_checkpoint
from tests.generate.worlds import write_micro_checkpoint
from tests.worlds import write_micro_base


def test_averaged_weights_are_preferred(tmp_path: Path, micro_base: Path) -> None:
    """A checkpoint with ema/ generates from it."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base, averaged=True)
    assert open_checkpoint(run).weights.name == "ema"


def test_other_base_is_refused(tmp_path: Path, run_folder: Path) -> None:
    """Both bases and the mend are named; a copy of the right base elsewhere is fine."""
    trained = open_checkpoint(run_folder)
    other = write_micro_base(tmp_path / "other", seed=9)
    with pytest.raises(CheckpointError, match=rf"trained on base {trained.base} .* but {other} is another.*--base"):
        open_base(trained, str(other))
    copy = shutil.copytree(trained.base, tmp_path / "copy")
    assert open_base(trained, str(copy)).folder == copy


def test_base_has_moved(tmp_path: Path) -> None:
    """A base that is no longer where the training found it: the mend is named, and works."""
    base = write_micro_base(tmp_path / "base")
    trained = open_checkpoint(write_micro_checkpoint(tmp_path / "run", base))
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"its base is not where the training found it.*--base"):
        open_base(trained)
    assert open_base(trained, str(moved)).folder == moved


def test_a_checkpoint_does_not_decide_what_is_downloaded(
    tmp_path: Path, micro_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub id in it is looked for in the cache alone; only what its user names with --base is asked for."""
    trained = replace(open_checkpoint(write_micro_checkpoint(tmp_path / "run", micro_base)), base="stranger/any-model")
    asked: list[str] = []

    def hub(name: str) -> list[str]:
        asked.append(name)
        return []

    monkeypatch.setattr("models.hub.list_repo_files", hub)
    with pytest.raises(CheckpointError, match=r"in the cache of the Hugging Face hub.*--base.*stranger/any-model"):
        open_base(trained)
    assert not asked
    with pytest.raises(BaseError):
        open_base(trained, "stranger/any-model")
    assert asked == ["stranger/any-model"]


def test_a_checkpoint_of_before_knows_its_base(tmp_path: Path, micro_base: Path) -> None:
    """Its hash was that of the hashes of config and weight files."""
    files = [micro_base / "unet/config.json", micro_base / "unet/diffusion_pytorch_model.safetensors"]
    noted = hashlib.sha256("".join(sha256(path) for path in files).encode()).hexdigest()
    trained = open_checkpoint(write_micro_checkpoint(tmp_path / "run", micro_base))
    assert noted != trained.unet_sha256
    assert open_base(replace(trained, unet_sha256=noted)).folder == micro_base


def test_damaged_checkpoint(tmp_path: Path, run_folder: Path) -> None:
    """A changed weight file is named."""
    folder = shutil.copytree(run_folder / "checkpoints/step-00000010", tmp_path / "step-00000010")
    (folder / "controlnet/diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"damaged, controlnet/diffusion_pytorch_model.safetensors differs"):
        open_checkpoint(folder)


def test_state_without_a_field(tmp_path: Path, micro_base: Path) -> None:
    """A state.json that lacks what generation needs is named with the field."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base)
    folder = run / "checkpoints/step-00000010"
    state = json.loads((folder / "state.json").read_text())
    del state["resolution"]
    (folder / "state.json").write_text(json.dumps(state))
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    path = folder / "state.json"
    manifest["state.json"] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"state.json: resolution is missing"):
        open_checkpoint(folder)


def test_averaged_weights_that_are_gone_are_named(tmp_path: Path, micro_base: Path) -> None:
    """The live weights beside them would make other images without a word."""
    folder = step_folder(write_micro_checkpoint(tmp_path / "run", micro_base).joinpath("checkpoints"), 10)
    state = read_state(folder) | {"config": {"train": {"ema_decay": 0.9}}}
    kept = shutil.copytree(folder / "controlnet", tmp_path / "controlnet")

    def write_files(new: Path) -> None:
        shutil.copytree(kept, new / "controlnet")

    write_checkpoint(folder, state, write_files)
    with pytest.raises(CheckpointError, match="lacks ema"):
        open_checkpoint(folder)
