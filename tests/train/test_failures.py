"""What can go wrong in a run: clear words, and nothing lost."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from data.dataset import open_dataset
from data.sampler import view_of
from models.checkpoint import CheckpointError, fault_of, newest_valid
from tests.train.conftest import Arguments, run
from train.config import ConfigError
from train.errors import TrainingError
from train.objective import denoising_loss
from train.schedules import learning_rate


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The operating system refuses to write more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_takes_no_more_leaves_the_older_checkpoint(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", "--train.steps=3"))
    with pytest.raises(CheckpointError, match=r"step-00000006: could not be written .*Nothing of it was left behind"):
        with files_no_larger_than(20_000):
            run(arguments("run"))
    assert checkpoints(tmp_path / "run") == ["step-00000003"]
    assert fault_of(tmp_path / "run/checkpoints/step-00000003") is None
    assert run(arguments("run")) == 0


def test_a_run_folder_that_cannot_be_written_is_named(tmp_path: Path, arguments: Arguments) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        ConfigError, match=r"run\.out is .*file/run, which cannot be written to.*a part of .* is a file"
    ):
        run(arguments("file/run"))


def test_metrics_that_cannot_be_written_are_named(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(step: int, **settings: Any) -> float:
        if step == 4:
            (tmp_path / "run/metrics.jsonl").unlink()
            (tmp_path / "run/metrics.jsonl").mkdir()
        return learning_rate(step, **settings)

    monkeypatch.setattr("train.loop.learning_rate", spoil)
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: could not be written .*checkpoint is .*step-00000003"):
        run(arguments("run"))


@pytest.mark.parametrize("log_every", [1, 6])
def test_a_loss_that_is_no_number_names_its_patches_and_is_never_saved(
    tmp_path: Path, tiny_dataset: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    calls: list[int] = []

    def spoilt(*parts: Any, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        losses, plain = denoising_loss(*parts, **settings)
        calls.append(len(losses))
        # Two micro-batches of two a step: in step 4 the second example of the second one, ordinal 3 * 4 + 3.
        return losses * torch.tensor([1, torch.inf]) if len(calls) == 8 else losses, plain

    monkeypatch.setattr("train.loop.denoising_loss", spoilt)
    dataset = open_dataset(tiny_dataset, "train")
    patch = dataset[view_of(0, 15, 2 * len(dataset)) % len(dataset)]["patch_id"]
    with pytest.raises(TrainingError) as error:
        run(arguments("run", f"--run.log_every={log_every}", "--run.save_every=2", "--run.keep_last=1"))
    assert f"step 4: the loss of patches {patch} is not finite" in str(error.value)
    assert str(tmp_path / "run/checkpoints/step-00000002") in str(error.value)
    assert checkpoints(tmp_path / "run") == ["step-00000002"]


@pytest.mark.parametrize(("fitting", "mend"), [(1, "train.micro_batch 1 does"), (0, "Not even one example does")])
def test_too_little_memory_says_what_would_fit(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch, fitting: int, mend: str
) -> None:
    def too_large(
        denoiser: Any, schedule: Any, batch: dict[str, torch.Tensor], **settings: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(batch["noise"]) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return denoising_loss(denoiser, schedule, batch, **settings)

    monkeypatch.setattr("train.loop.denoising_loss", too_large)
    with pytest.raises(TrainingError, match=f"train.micro_batch 4 does not fit into cpu.*{mend}"):
        run(arguments("run", "--train.micro_batch=4"))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :])


def test_any_damage_to_any_file_is_named_and_the_one_before_is_used(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", "--train.ema_decay=0.9"))
    older, newest = sorted((tmp_path / "run/checkpoints").iterdir())
    shutil.copytree(newest, tmp_path / "whole")
    files = [path.relative_to(newest) for path in newest.rglob("*") if path.is_file()]
    assert len(files) == 7  # two networks of two files, optimizer, state, manifest
    for name in files:
        for how in ("truncate", "flip", "delete"):
            damage(newest / name, how)
            said: list[str] = []
            assert newest_valid(tmp_path / "run/checkpoints", said.append) == older
            assert said[0].startswith(f"{newest}: passed over, {name}"), (name, how)
            shutil.rmtree(newest)
            shutil.copytree(tmp_path / "whole", newest)
    assert newest_valid(tmp_path / "run/checkpoints") == newest
