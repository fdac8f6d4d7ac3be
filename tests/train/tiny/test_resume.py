"""Stopped or killed at any moment and run again equals never stopped, bit for bit; what is left is a base."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

import train.tiny.loop
from models import load_base
from models.checkpoint import CheckpointError, newest_valid, steps_in
from tests.train.tiny.conftest import Arguments, run
from train.errors import ConfigError
from train.saving.run_files import read_metrics
from train.tiny.quality import reconstruction_report

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")
STAGES = ("autoencoder", "denoiser")


class Killed(BaseException):
    """Nobody catches it, as nobody catches SIGKILL."""


def assert_same(one: Path, other: Path) -> None:
    for stage in STAGES:
        newest = [newest_valid(out / stage / "checkpoints") for out in (one, other)]
        for file in ("weights", "ema", "optimizer"):
            a, b = (load_file(folder / f"{file}.safetensors") for folder in newest if folder)
            assert a.keys() == b.keys() and len(a) > 10
            assert all(torch.equal(a[name], b[name]) for name in a), (stage, file)
        lines = [[without_speed(line) for line in read_metrics(out / stage)] for out in (one, other)]
        assert lines[0] == lines[1]


def without_speed(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "examples_per_second"}


def test_killed_and_stopped_equals_straight(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the first checkpoint, in the midst of the discriminator's steps, in a look; stopped by SIGTERM."""
    assert run(arguments("straight")) == 0
    taken, step_of = 0, train.tiny.loop.take_step
    deaths = {1: "kill", 4: "stop", 6: "kill", 9: "kill", 12: "stop"}

    def deadly(stage: Any, state: Any, log: Any) -> None:
        nonlocal taken
        taken += 1
        end = deaths.get(taken)
        if end == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        step_of(stage, state, log)
        if end == "kill":
            raise Killed

    monkeypatch.setattr(train.tiny.loop, "take_step", deadly)
    statuses: list[int | str] = []
    while not statuses or statuses[-1] != 0:
        try:
            statuses.append(run(arguments("broken")))
        except Killed:
            statuses.append("killed")
    assert statuses == ["killed", 75, "killed", "killed", 75, 0]
    assert_same(tmp_path / "straight", tmp_path / "broken")
    assert_is_a_base(tmp_path / "broken")


def assert_is_a_base(out: Path) -> None:
    """Stock diffusers and the project load it; it says how it was measured, and nothing of this machine."""
    base = out / "base"
    pipeline = StableDiffusionPipeline.from_pretrained(base, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a flood in the east", num_inference_steps=1).images[0].size == (32, 32)
    assert load_base(base).load_vae().config.latent_channels == 4
    quality = json.loads((base / "quality.json").read_text())
    assert [[line["step"] for line in quality[stage]] for stage in STAGES] == [[2, 4, 5], [2, 4, 5]]
    last = quality["denoiser"][-1]
    assert last["loss"] == pytest.approx((last["loss_t250"] + last["loss_t750"]) / 2, abs=1e-4)
    assert (out / "denoiser/validation/step-00000005/captions.png").is_file()
    assert (out / "autoencoder/validation/step-00000005/reconstructions.png").is_file()
    texts = [path.read_text() for path in base.rglob("*") if path.suffix in (".json", ".md")]
    assert not any(str(out.parent) in text for text in texts)
    averages = load_file(str(newest_valid(out / "denoiser/checkpoints")) + "/ema.safetensors")
    shipped = load_file(base / "unet/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(shipped[name], averages[f"unet.{name}"].half()) for name in shipped)


def test_a_stop_in_a_look_is_heeded_at_once(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_first = ("--denoiser.steps=0",)
    assert run(arguments("straight", *only_first)) == 0

    def stopping(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return reconstruction_report(*given)

    with monkeypatch.context() as patch:
        patch.setattr("train.tiny.autoencoder.reconstruction_report", stopping)
        assert run(arguments("stopped", *only_first)) == 75
    stage = tmp_path / "stopped/autoencoder"
    assert [path.name for path in steps_in(stage / "checkpoints")] == ["step-00000002"]
    assert not any("validation" in line for line in read_metrics(stage))
    assert run(arguments("stopped", *only_first)) == 0
    assert read_metrics(stage)[2]["validation"] == read_metrics(tmp_path / "straight/autoencoder")[2]["validation"]


def test_another_training_is_refused(tmp_path: Path, arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    only_first = ("--denoiser.steps=0", "--autoencoder.decay_steps=0")
    assert run(arguments("run", *only_first, "--autoencoder.steps=2")) == 0
    changed = (
        *(*only_first, "--networks.unet_channels=[16, 32]", "--data.caption_dropout=0"),  # of the second stage
        *("--autoencoder.learning_rate=0.5", "--autoencoder.steps=3"),
    )
    with pytest.raises(CheckpointError, match=r"autoencoder\.learning_rate was 0.001 and is now 0.5") as error:
        run(arguments("run", *changed))
    assert "--run.resume_allow='[autoencoder.learning_rate]'" in str(error.value)
    assert run(arguments("run", *changed, "--run.resume_allow=[autoencoder.learning_rate]")) == 0
    assert "autoencoder.steps was 2 and is now 3" in capsys.readouterr().out


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, arguments: Arguments) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty and contains no run"):
        run(arguments("mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_base_is_trained_further(tmp_path: Path, arguments: Arguments) -> None:
    """From all of its networks or from its autoencoder alone; a learning rate of 0 would leave it as it is."""
    assert run(arguments("first")) == 0
    base = tmp_path / "first/base"
    further = (
        f"--networks.start={base}",
        "--autoencoder.steps=0",
        "--denoiser.learning_rate=1e-12",
        "--denoiser.weight_decay=0",
    )
    assert run(arguments("further", *further)) == 0
    assert not (tmp_path / "further/autoencoder").exists()
    for file in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        old, new = (load_file(folder / f"{file}.safetensors") for folder in (base, tmp_path / "further/base"))
        assert all(torch.allclose(old[name], new[name], atol=1e-9) for name in old), file
    quality = json.loads((tmp_path / "further/base/quality.json").read_text())
    assert [line["step"] for line in quality["autoencoder"]] == [2, 4, 5]
    assert [line["step"] for line in quality["denoiser"]] == [2, 4, 5, 7, 9, 10]
    alone = tmp_path / "alone"
    shutil.copytree(base / "vae", alone / "vae")
    (alone / "quality.json").write_text(json.dumps(quality | {"denoiser": []}))
    assert run(arguments("anew", f"--networks.start={alone}", "--autoencoder.learning_rate=1e-12")) == 0
    quality = json.loads((tmp_path / "anew/base/quality.json").read_text())
    assert [line["step"] for line in quality["autoencoder"]] == [2, 4, 5, 7, 9, 10]
    assert quality["autoencoder"][-1]["psnr"] == pytest.approx(quality["autoencoder"][2]["psnr"], abs=0.05)
    with pytest.raises(ConfigError, match=r"networks.latent_channels is 8, but .*/alone/vae has 4. Set it to that."):
        run(arguments("other", f"--networks.start={alone}", "--networks.latent_channels=8"))
    with pytest.raises(ConfigError, match=r"networks.start is .*/base, whose networks are of other sizes"):
        run(arguments("wide", f"--networks.start={base}", "--networks.unet_channels=[16, 32]"))
