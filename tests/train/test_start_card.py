"""What a run says of itself, on the screen and to the trackers."""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
from diffusers import ControlNetModel, UNet2DConditionModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.dataset.open import open_dataset
from data.errors import DataError
from data.storage import LOCK, locked
from generate.checkpoint import open_checkpoint
from launch.cli import signature
from models.checkpoint import step_folder
from tests.train.conftest import Arguments, run
from train.config import DataConfig, ValidationConfig
from train.config_file import parse_config
from train.errors import ConfigError
from train.saving.run_folder import open_run_folder
from train.start_card import _validation

VALIDATED = [
    "--validation.every=2",
    "--validation.examples=1",
    "--validation.images=1",
    "--validation.sampling_steps=1",
]


@pytest.mark.parametrize("condition", ["pixels", "latents"])
def test_the_card_counts_what_is_trained_and_on_how_much(
    tmp_path: Path,
    tiny_dataset: Path,
    micro_base: Path,
    arguments: Arguments,
    capsys: pytest.CaptureFixture[str],
    condition: str,
) -> None:
    run(arguments("run", "--train.steps=4", "--train.ema_decay=0.9", f"--model.condition={condition}"))
    said = {line[:11].strip(): line[11:] for line in capsys.readouterr().out.splitlines()}
    controlnet = ControlNetModel.from_pretrained(step_folder(tmp_path / "run/checkpoints", 4) / "controlnet")
    unet = UNet2DConditionModel.from_pretrained(micro_base / "unet")
    trained, frozen = controlnet.num_parameters(), unet.num_parameters()
    assert said["trained"] == f"controlnet, {trained:,} parameters in float32"
    assert said["frozen"] == f"UNet, {frozen:,} parameters in float32"
    megabytes = 4 * (frozen + 5 * trained) / 1e6  # weights, gradients, two moments, average
    assert said["memory"].startswith(f"{megabytes:.2f} MB per process without activations")
    assert said["cache"].endswith(f" MB of latents and captions in {tmp_path / 'cache'}")
    patches = len(open_dataset(tiny_dataset, "train"))
    assert said["examples"].startswith(f"{2 * patches} views of {patches} patches in an epoch; a step takes 4: 1 proc")
    assert said["steps"] == f"4 in total, 0 done; {16 / (2 * patches):.1f} epochs"
    assert said["validation"].startswith("none")
    assert said["watch"].startswith(f"tensorboard --logdir {tmp_path},")


def test_the_end_says_what_to_do_with_the_result(arguments: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands that it names take these words; a run that is done already says the same."""
    for _ in range(2):
        run(arguments("run", "--train.steps=2"))
        *_, generate, evaluate = capsys.readouterr().out.splitlines()
        for line, name in ((generate, "generate"), (evaluate, "evaluate")):
            words = line.split()
            assert words[:2] == ["pre2post", name]
            options = inspect.signature(signature(name)).parameters
            assert {word[2:] for word in words if word.startswith("--")} <= set(options)
    run(arguments("past", "--train.steps=2", "--data.direction=past"))
    assert "evaluate" not in capsys.readouterr().out  # it compares post images


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path, arguments: Arguments) -> None:
    with locked(tmp_path / "run"), pytest.raises(DataError, match="another command is writing to it"):
        run(arguments("run"))
    run(arguments("run", "--train.steps=2"))
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_checkpoint_names_one_of_its_captions(tmp_path: Path, tiny_dataset: Path, arguments: Arguments) -> None:
    for direction, target in (("future", "post"), ("past", "pre")):
        styles = "--data.caption_styles={short: 1, placed: 3}"
        run(arguments(direction, "--train.steps=2", f"--data.direction={direction}", styles))
        captions = [one for row in open_dataset(tiny_dataset, "train")["captions"] for one in row]
        known = [one["text"] for one in captions if (one["style"], one["target"]) == ("placed", target)]
        prompt = open_checkpoint(tmp_path / direction).prompt
        assert prompt in known and len(str(prompt)) == max(map(len, known))


def test_the_trackers_get_what_metrics_jsonl_has(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run(arguments("run", *VALIDATED, "--train.steps=2", "--run.trackers=[tensorboard,wandb]"))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "run/pre2post")).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([line["loss"] for line in lines[:2]])
    assert events.Scalars("control_gap/mean")[0].value == pytest.approx(lines[2]["control_gap"])
    assert [image.step for image in events.Images("validation/images")] == [2]
    grouped = {tag.partition("/")[0] for tag in events.Tags()["scalars"]}
    assert grouped == {"train", "speed", "validation", "validation_loss", "control_gap", "colour_drift"}
    wandb.teardown()  # as at the end of a process: until then its own process may not have written everything
    (offline,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    first = json.loads((tmp_path / "run/run.json").read_text())["id"]
    assert offline.name == f"run-{first}.wandb"  # by which a start after a requeue goes on with it
    assert (
        open_run_folder(parse_config(arguments("run")), 2) == first != open_run_folder(parse_config(arguments("x")), 0)
    )
    recorded = offline.read_bytes()
    assert b"validation_loss/mean" in recorded and b"train.learning_rate" in recorded


def test_a_tracker_that_does_not_start_is_named(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*parts: object, **more: object) -> None:
        raise RuntimeError("no API key")

    monkeypatch.setattr("accelerate.Accelerator.init_trackers", offline)
    with pytest.raises(ConfigError, match=r"run\.trackers is \['wandb'\].*no API key.*WANDB_MODE=offline"):
        run(arguments("run", "--run.trackers=[wandb]"))


@pytest.mark.parametrize(("split", "named"), [("validation", False), ("train", True)])
def test_validation_on_what_is_trained_on_is_named(split: str, named: bool) -> None:
    config = SimpleNamespace(data=DataConfig(dataset=Path("d")), validation=ValidationConfig(every=5, split=split))
    plan: Any = SimpleNamespace(config=config, validated=(2, 1))
    assert _validation(plan).startswith(f"2 patches of {split!r} every 5 steps, 1 of them with images")
    assert ("trained on" in _validation(plan).lower()) is named
