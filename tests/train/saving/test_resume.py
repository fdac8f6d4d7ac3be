"""Interrupted and resumed equals uninterrupted, bit for bit."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.checkpoint import CheckpointError, fault_of, step_folder
from tests.train.conftest import Arguments, fingerprints, losses, run
from tests.worlds import write_micro_base
from train.errors import ConfigError
from train.schedules import learning_rate

EVERYTHING = ("controlnet/diffusion_pytorch_model", "ema/controlnet/diffusion_pytorch_model", "optimizer")
WITH_EMA = "--train.ema_decay=0.9"


def metrics(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: line[name] for name in ("step", "loss", "learning_rate", "grad_norm", "fingerprint")} for line in lines
    ]


def assert_same_run(one: Path, other: Path, step: int = 6) -> None:
    assert metrics(one) == metrics(other)
    for name in EVERYTHING:
        a, b = (load_file(step_folder(out / "checkpoints", step) / f"{name}.safetensors") for out in (one, other))
        assert a.keys() == b.keys() and len(a) > 10
        assert all(torch.equal(a[key], b[key]) for key in a), name


def test_stopped_half_way_and_resumed(tmp_path: Path, arguments: Arguments) -> None:
    assert run(arguments("straight", WITH_EMA)) == 0
    assert run(arguments("resumed", WITH_EMA, "--train.steps=3")) == 0
    assert run(arguments("resumed", WITH_EMA)) == 0
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")


@pytest.mark.parametrize("condition", ["coarse2", "coarse8", "hole"])
def test_a_restoring_run_stopped_and_resumed_or_uncached(tmp_path: Path, arguments: Arguments, condition: str) -> None:
    options = [f"--model.condition={condition}", WITH_EMA, "--train.steps=2", "--run.save_every=1"]
    run(arguments("straight", *options))
    again = shutil.copytree(tmp_path / "straight", tmp_path / "resumed") / "checkpoints"
    (step_folder(again, 2) / "MANIFEST.json").unlink()
    run(arguments("resumed", *options))
    assert_same_run(tmp_path / "straight", tmp_path / "resumed", step=2)
    run(arguments("uncached", *options, "--run.cache_in=off"))
    assert fingerprints(tmp_path / "uncached") == fingerprints(tmp_path / "straight")
    assert losses(tmp_path / "uncached") == pytest.approx(losses(tmp_path / "straight"), rel=1e-5)


def test_the_average_is_saved_not_the_weights(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", WITH_EMA, "--train.steps=2", "--run.save_every=1"))
    network = "diffusion_pytorch_model.safetensors"
    one, two = (step_folder(tmp_path / "run/checkpoints", step) for step in (1, 2))
    folders = one / "ema/controlnet", two / "ema/controlnet", two / "controlnet"
    before, after, weights = (load_file(path / network) for path in folders)
    decay = 2 / 11  # of the second update, below the limit of 0.9
    for name, average in after.items():
        torch.testing.assert_close(average, decay * before[name] + (1 - decay) * weights[name])
    assert not all(torch.equal(after[name], weights[name]) for name in weights)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_at_the_step_boundary(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def interrupting(step: int, **settings: Any) -> float:
        if step == 3:
            os.kill(os.getpid(), number)
        return learning_rate(step, **settings)

    run(arguments("straight", WITH_EMA))
    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.learning_rate", interrupting)
        assert run(arguments("stopped", WITH_EMA)) == 75
    assert signal.getsignal(number) is handler
    assert (tmp_path / "stopped/checkpoints/step-00000004").is_dir()
    assert run(arguments("stopped", WITH_EMA)) == 0
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments("straight", WITH_EMA))
    run(arguments("damaged", WITH_EMA))
    newest = tmp_path / "damaged/checkpoints/step-00000006"
    weights = newest / "controlnet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert run(arguments("damaged", WITH_EMA)) == 0
    printed = capsys.readouterr().out
    assert "step-00000006: passed over, controlnet/diffusion_pytorch_model.safetensors differs" in printed
    assert fault_of(newest) is None  # written again
    assert_same_run(tmp_path / "straight", tmp_path / "damaged")


def test_another_experiment_is_refused(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", "--train.steps=3"))
    with pytest.raises(CheckpointError, match=r"train\.seed was 0 and is now 1") as error:
        run(arguments("run", "--train.seed=1", "--train.learning_rate=0.5"))
    assert "train.learning_rate was 0.001 and is now 0.5" in str(error.value)
    assert "--run.resume_allow='[train.learning_rate,train.seed]'" in str(error.value)


def test_what_is_allowed_may_differ_and_everything_that_differs_is_listed(
    arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments("run", "--train.steps=3"))
    changes = ("--train.learning_rate=0.5", "--run.workers=1", "--run.resume_allow=[train.learning_rate]")
    assert run(arguments("run", *changes)) == 0
    printed = capsys.readouterr().out
    for change in ("train.learning_rate was 0.001 and is now 0.5", "run.workers was 0 and is now 1"):
        assert f"resume: {change}." in printed


def test_the_end_may_not_move_once_the_rate_decays_towards_it(arguments: Arguments) -> None:
    decay = "--train.decay_steps=2"
    run(arguments("run", decay))
    with pytest.raises(CheckpointError, match=r"train\.steps was 6 and is now 9, while the learning rate already"):
        run(arguments("run", decay, "--train.steps=9"))


def test_the_checkpoint_of_another_base_is_refused(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", "--train.steps=3"))
    other = write_micro_base(tmp_path / "other", seed=5)
    with pytest.raises(CheckpointError, match=r"model\.base was .* and is now another network"):
        run(arguments("run", f"--model.base={other}"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, arguments: Arguments) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty and contains no run"):
        run(arguments("mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_finished_run_says_so(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    run(arguments("run", "--train.steps=3"))
    assert run(arguments("run", "--train.steps=3")) == 0
    assert "already at step 3" in capsys.readouterr().out


def test_only_the_last_checkpoints_are_kept(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", "--run.save_every=1", "--run.keep_last=2"))
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["step-00000005", "step-00000006"]
