"""What can go wrong in a run: clear words, and nothing lost."""

import json
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from diffusers import AutoencoderKL

from data.dataset.open import open_dataset
from data.examples.sampler import view_of
from models.checkpoint import CheckpointError, fault_of, newest_valid
from tests.train.conftest import Arguments, files_no_larger_than, run
from train.errors import ConfigError, TrainingError
from train.inputs.cache import encode_images
from train.objective import denoising_loss
from train.schedules import learning_rate

STAGE = "--train.curriculum=[{from_step: 1, micro_batch: 4}]"


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "checkpoints").iterdir())


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
    with pytest.raises(ConfigError, match=r"run\.out is .*file/run, which is not writable.*a part of .* is a file"):
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


GRADIENTS = "Set model.gradient_checkpointing true"


@pytest.mark.parametrize(
    ("fitting", "options", "said"),
    [
        (1, [], r"train.micro_batch 4 .* train.micro_batch 1 does; .* Or s.t model.gradient_checkpointing true"),
        (0, [], rf"train.micro_batch 4 .*Not even one example does. {GRADIENTS}, or use a larger device"),
        (0, ["--model.gradient_checkpointing=true"], "Not even one example does. Use a larger device"),
        (0, ["--model.trained=lora"], "Set model.base_checkpointing true, or use a larger device"),
        (2, [STAGE], r"micro_batch of train.curriculum\[0\] 4 does not fit.* of train.curriculum\[0\] 2 does"),
    ],
)
def test_too_little_memory_says_what_would_fit(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch, fitting: int, options: list[str], said: str
) -> None:
    """In the words of the setting that decides, and of those that are not switched on already."""

    def too_large(
        denoiser: Any, schedule: Any, batch: dict[str, torch.Tensor], **settings: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if len(batch["noise"]) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return denoising_loss(denoiser, schedule, batch, **settings)

    monkeypatch.setattr("train.loop.denoising_loss", too_large)
    size = 2 if STAGE in options else 4
    with pytest.raises(TrainingError, match=said):
        run(arguments("run", f"--train.micro_batch={size}", *options))


def test_too_little_memory_for_the_frozen_encoders_says_so(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cache they work in every step, before anything is trained."""

    def too_large(vae: AutoencoderKL, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode_images(vae, pixels)

    monkeypatch.setattr("train.inputs.encode.encode_images", too_large)
    with pytest.raises(TrainingError, match=r"train.micro_batch 4 does not fit on cpu.* train.micro_batch 2 does"):
        run(arguments("run", "--train.micro_batch=4", "--run.cache_in=off"))


def overflowing(monkeypatch: pytest.MonkeyPatch, micro_batches: int) -> None:
    """The gradients of the first micro-batches are infinite, their losses are as ever."""
    calls: list[None] = []

    def spoilt(*parts: Any, **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
        losses, plain = denoising_loss(*parts, **settings)
        calls.append(None)
        steep = (losses - losses.detach()).sqrt()  # 0, of which the derivative is infinite
        return losses + steep if len(calls) <= micro_batches else losses, plain

    monkeypatch.setattr("train.loop.denoising_loss", spoilt)


def strict(out: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, by a reader that knows no NaN."""

    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_skipped_steps_are_counted_and_the_run_goes_on(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start the loss scale is too large: each step that overflows halves it (docs of torch.amp.GradScaler)."""
    overflowing(monkeypatch, 2 * 2)  # two micro-batches a step
    assert run(arguments("run", "--train.precision=fp16", "--train.steps=3")) == 0
    lines = strict(tmp_path / "run")
    assert [line["skipped_steps"] for line in lines] == [1, 1, 0]
    assert [line["loss_scale"] for line in lines] == [2**15, 2**14, 2**14]
    assert [line["grad_norm"] is None for line in lines] == [True, True, False]


@pytest.mark.parametrize(("steps", "log_every", "ended"), [(4, 2, 4), (40, 9, 18)])
def test_a_run_that_never_takes_a_step_stops(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, steps: int, log_every: int, ended: int
) -> None:
    """At its end, or when 2^16 has been halved below 1, which takes 17 steps; nothing is saved."""
    overflowing(monkeypatch, 1000)
    options = [
        f"--train.steps={steps}",
        f"--run.log_every={log_every}",
        "--run.save_every=100",
        "--train.micro_batch=4",
    ]
    with pytest.raises(TrainingError, match=rf"step {ended}: the gradients of the last {log_every} steps overflowed"):
        run(arguments("run", "--train.precision=fp16", *options))
    assert [line["skipped_steps"] for line in strict(tmp_path / "run")] == [log_every] * 2
    assert not (tmp_path / "run/checkpoints").exists()


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
