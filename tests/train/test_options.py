"""Options that save memory or time leave the losses as they are; those that need something say so."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models import load_base
from models.checkpoint import MANIFEST, STATE, read_state, write_checkpoint
from tests.train.conftest import Arguments, fingerprints, losses, run
from tests.worlds import write_micro_base
from train.config import ModelConfig
from train.config_file import parse_config
from train.errors import ConfigError
from train.networks import build_denoiser, noise_schedule
from train.saving.state import OPTIMIZER

SHORT = ["--train.steps=3", "--train.warmup_steps=0"]


def test_checkpointing_and_memory_format_change_no_loss(tmp_path: Path, arguments: Arguments) -> None:
    both = "--model.trained=controlnet+lora"
    run(arguments("plain", both, *SHORT))
    options = ("gradient_checkpointing", "base_checkpointing", "channels_last")
    run(arguments("options", both, *SHORT, *(f"--model.{option}=true" for option in options)))
    assert losses(tmp_path / "options") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)


def test_checkpointing_recomputes_both_networks(micro_base: Path) -> None:
    model = ModelConfig(gradient_checkpointing=True, base_checkpointing=True)
    denoiser = build_denoiser(load_base(micro_base), model, "fp32", 0, torch.device("cpu"))
    assert denoiser.controlnet is not None
    assert denoiser.controlnet.is_gradient_checkpointing
    assert all(block.gradient_checkpointing for block in denoiser.unet.up_blocks)


def test_compile_and_xformers_reach_both_networks(micro_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, str]] = []
    for name in ("compile", "enable_xformers_memory_efficient_attention"):
        monkeypatch.setattr(
            nn.Module, name, lambda self, name=name: called.append((name, type(self).__name__)), raising=False
        )
        monkeypatch.setattr(f"diffusers.ModelMixin.{name}", getattr(nn.Module, name), raising=False)
    build_denoiser(
        load_base(micro_base), ModelConfig(compile=True, attention="xformers"), "fp32", 0, torch.device("cpu")
    )
    networks = {"UNet2DConditionModel", "ControlNetModel"}
    assert set(called) == {(n, k) for n in ("compile", "enable_xformers_memory_efficient_attention") for k in networks}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_follows_float32(tmp_path: Path, arguments: Arguments, precision: str) -> None:
    run(arguments("full", *SHORT))
    run(arguments("low", *SHORT, f"--train.precision={precision}"))
    assert losses(tmp_path / "low") == pytest.approx(losses(tmp_path / "full"), rel=0.03)
    state = json.loads((tmp_path / "low/checkpoints/step-00000003/state.json").read_text())
    assert state["loss_scaler"].get("scale") == (65536.0 if precision == "fp16" else None)


def test_an_overflow_of_fp16_leaves_out_a_step_and_is_remembered(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of step 1 is infinite: no weight moves, the scale halves, a resumed run goes on with it."""
    clip = nn.utils.clip_grad_norm_
    steps: list[int] = []

    def overflowing(weights: list[nn.Parameter], limit: float) -> torch.Tensor:
        steps.append(len(steps))
        return clip(weights, limit)

    class Overflowing(torch.amp.GradScaler):
        def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
            if len(steps) == 1:
                optimizer.param_groups[0]["params"][0].grad.fill_(torch.inf)
            super().unscale_(optimizer)

    monkeypatch.setattr("train.loop.nn.utils.clip_grad_norm_", overflowing)
    monkeypatch.setattr("torch.amp.GradScaler", Overflowing)
    options = [*SHORT, "--train.precision=fp16", "--run.save_every=1", "--run.keep_last=0"]
    assert run(arguments("run", *options)) == 0
    folder = tmp_path / "run/checkpoints"
    scales = [
        json.loads((folder / f"step-0000000{n}/state.json").read_text())["loss_scaler"]["scale"] for n in (1, 2, 3)
    ]
    assert scales == [65536.0, 32768.0, 32768.0]
    straight = losses(tmp_path / "run")
    (folder / "step-00000003/MANIFEST.json").unlink()
    run(arguments("run", *options))
    assert losses(tmp_path / "run") == straight


def test_an_absent_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.config_checks.is_installed", lambda package: False)
    with pytest.raises(ConfigError) as error:
        parse_config(["--data.dataset=d", "--run.out=r", "--train.optimizer=adamw8bit", "--model.attention=xformers"])
    assert "train.optimizer is adamw8bit, but the package bitsandbytes is not installed" in str(error.value)
    assert "pip install -e '.[xformers]'" in str(error.value)


def test_bitsandbytes_itself_resumes_exactly(tmp_path: Path, arguments: Arguments) -> None:
    options = [*SHORT, "--train.optimizer=adamw8bit", "--run.save_every=1", "--run.keep_last=0"]
    run(arguments("run", *options))
    folder = tmp_path / "run/checkpoints/step-00000003"
    straight, moments = losses(tmp_path / "run"), load_file(folder / "optimizer.safetensors")
    assert torch.uint8 in {moment.dtype for moment in moments.values()}
    (folder / "MANIFEST.json").unlink()
    run(arguments("run", *options))
    again = load_file(folder / "optimizer.safetensors")
    assert losses(tmp_path / "run") == straight
    assert all(torch.equal(again[name], moments[name]) for name in moments)


def test_moments_of_before_there_was_a_choice_are_those_of_adamw(
    tmp_path: Path, arguments: Arguments, capsys: pytest.CaptureFixture[str]
) -> None:
    run(arguments("run", *SHORT, "--run.save_every=1", "--run.keep_last=0"))
    second, third = (tmp_path / f"run/checkpoints/step-0000000{step}" for step in (2, 3))
    right, state = load_file(third / OPTIMIZER), read_state(second)
    del state["config"]["train"]["optimizer"]
    kept = shutil.copytree(second, tmp_path / "kept", ignore=shutil.ignore_patterns(MANIFEST, STATE))
    shutil.rmtree(second)
    shutil.rmtree(third)

    def write(partial: Path) -> None:
        shutil.copytree(kept, partial, dirs_exist_ok=True)

    write_checkpoint(second, state, write)
    capsys.readouterr()
    run(arguments("run", *SHORT, "--run.save_every=1", "--run.keep_last=0"))
    printed = capsys.readouterr().out
    assert f"resuming from {second}" in printed and "newly initialised" not in printed
    again = load_file(third / OPTIMIZER)
    assert right.keys() == again.keys() and all(torch.equal(again[name], right[name]) for name in right)


def test_layers_that_the_base_has_not_are_named(micro_base: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora_targets is \['to_qq'\]"):
        build_denoiser(
            load_base(micro_base), ModelConfig(trained="lora", lora_targets=["to_qq"]), "fp32", 0, torch.device("cpu")
        )


def test_pure_noise_tells_a_noise_prediction_nothing(tmp_path: Path) -> None:
    base = write_micro_base(tmp_path / "base")
    path = base / "scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace("v_prediction", "epsilon"))
    with pytest.raises(ConfigError, match=r"objective\.zero_terminal_snr is true, but .* predicts the noise"):
        noise_schedule(load_base(base), True)


def test_every_part_of_the_objective_is_drawn_from_the_ordinal(tmp_path: Path, arguments: Arguments) -> None:
    options = ["--objective.noise_offset=0.1", "--objective.input_perturbation=0.1", "--objective.min_snr_gamma=5"]
    options += ["--objective.damage_weights={destroyed: 4, background: 0.5}", "--data.direction=both", *SHORT]
    run(arguments("whole", *options, "--train.micro_batch=4"))
    run(arguments("parts", *options, "--train.micro_batch=1", "--run.workers=1"))
    assert fingerprints(tmp_path / "parts") == fingerprints(tmp_path / "whole")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    lines = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert all(line["loss_plain"] != line["loss"] for line in lines)
