"""Validation measures, and changes nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from diffusers import DDPMScheduler, StableDiffusionControlNetPipeline
from PIL import Image
from torch import nn

from data.dataset.open import open_dataset
from models import load_base
from models.checkpoint import step_folder
from models.denoiser import Denoiser
from models.images import as_pixels, decode, to_unit
from tests.train.conftest import Arguments, run
from tests.train.saving.test_resume import assert_same_run
from train.config import Config
from train.config_file import parse_config
from train.errors import ConfigError
from train.inputs.encode import unchanged
from train.inputs.examples import check_masks
from train.networks import build_denoiser
from train.objective import denoising_loss
from train.stages import stages_of
from train.watching.validation import ValidationSet, open_held_out, prepare_validation, sample_images, validate

VALIDATED = [
    "--validation.every=3",
    "--validation.examples=3",
    "--validation.images=3",
    "--validation.sampling_steps=2",
]
WITH_EMA = "--train.ema_decay=0.9"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def validations(out: Path) -> list[dict[str, Any]]:
    return [line for line in lines(out) if "validation_loss" in line]


def prepared(config: Config) -> tuple[ValidationSet, Denoiser, DDPMScheduler]:
    """A validation set, and a denoiser whose ControlNet has a say."""
    base, (stage,) = load_base(config.model.base), stages_of(config)
    schedule = base.load_noise_schedule()
    split = open_dataset(config.data.dataset, "validation")
    held_out = prepare_validation(Accelerator(cpu=True), config, stage, base, schedule, split)
    denoiser = build_denoiser(base, config.model, "fp32", 0, torch.device("cpu"))
    assert denoiser.controlnet is not None
    for weight in denoiser.controlnet.parameters():
        nn.init.normal_(weight, std=0.1)
    return held_out, denoiser, schedule


def test_a_run_with_validation_equals_one_without(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("without", WITH_EMA))
    run(arguments("with", WITH_EMA, *VALIDATED))
    without_validation = tmp_path / "with/metrics.jsonl"
    kept = [line for line in without_validation.read_text().splitlines(keepends=True) if '"loss"' in line]
    assert len(validations(tmp_path / "with")) == 2
    without_validation.write_text("".join(kept))
    assert_same_run(tmp_path / "without", tmp_path / "with")


def test_every_validation_of_every_run_is_the_same_one(tmp_path: Path, arguments: Arguments) -> None:
    """At a learning rate of nearly nothing, other seeds, batches and steps measure the same."""
    frozen = "--train.learning_rate=1e-30"
    run(arguments("one", *VALIDATED, frozen))
    run(arguments("other", *VALIDATED, frozen, "--train.seed=7", "--train.micro_batch=1"))
    first, second = validations(tmp_path / "one")
    (other, _) = validations(tmp_path / "other")
    assert {name: value for name, value in first.items() if name != "step"} == pytest.approx(
        {name: value for name, value in second.items() if name != "step"}, rel=1e-6
    )
    assert other["validation_loss"] == pytest.approx(first["validation_loss"], rel=1e-5)
    assert first["control_gap"] == pytest.approx(0, abs=1e-7)  # zero convolutions still at zero


def test_the_numbers_are_those_of_the_objective(tmp_path: Path, arguments: Arguments) -> None:
    options = ["--validation.timesteps=2", "--validation.images=0", "--train.learning_rate=1e-2"]  # a gap to be seen
    config = parse_config(arguments("run", *VALIDATED, *options))
    held_out, denoiser, schedule = prepared(config)
    found = validate(Accelerator(cpu=True), held_out, denoiser, schedule, unchanged, 0, lambda: False)
    assert found is not None
    expected = []
    for timestep in (250, 750):  # middle of two bins over 1000
        for ordinal in range(3):
            batch = {name: x[None] for name, x in held_out.examples[ordinal].items()} | {
                "timestep": torch.tensor([timestep])
            }
            expected.append(denoising_loss(denoiser, schedule, batch)[1].item())
    assert found["validation_loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    assert found["validation_loss_t750"] == pytest.approx(np.mean(expected[3:]), rel=1e-5)
    assert found["control_gap"] != pytest.approx(0, abs=1e-3)


def test_the_images_are_what_stock_diffusers_generates(tmp_path: Path, arguments: Arguments) -> None:
    config = parse_config(arguments("run", *VALIDATED))
    held_out, denoiser, _ = prepared(config)
    base, vae = held_out.base, held_out.base.load_vae()
    batch = {name: x[None] for name, x in held_out.examples[1].items()}
    pipeline = StableDiffusionControlNetPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        unet=denoiser.unet,
        controlnet=denoiser.controlnet,
        scheduler=base.load_sampler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    (expected,) = pipeline(
        prompt_embeds=batch["encoder_hidden_states"],
        image=batch["condition"].float() / 255,
        latents=batch["noise"],
        num_inference_steps=held_out.sampling_steps,
        guidance_scale=1.0,
        output_type="np",
    ).images
    with torch.no_grad():
        batches = [{name: x[None] for name, x in held_out.examples[1].items()}]
        (latents,) = sample_images(held_out, denoiser, batches, lambda: None)
        (image,) = as_pixels(to_unit(decode(vae, latents[None])))
    assert np.abs(image.astype(int) - (expected * 255).round()).max() <= 1


def test_a_sheet_shows_pre_generated_real(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", *VALIDATED, "--train.steps=3"))
    folder = tmp_path / "run/validation/step-00000003"
    sheet = np.asarray(Image.open(folder / "images.png"))
    assert sheet.shape == (16 + 3 * 36 - 4, 3 * 36 - 4, 3)
    dataset = open_dataset(arguments_dataset(arguments), "validation")
    scores = {entry["patch_id"]: row for row, entry in enumerate(json.loads((folder / "scores.json").read_text()))}
    assert len(scores) == 3
    for patch in dataset:
        if patch["patch_id"] in scores:
            top = 16 + 36 * scores[patch["patch_id"]]
            assert (sheet[top : top + 32, :32] == np.asarray(patch["pre"])).all()
            assert (sheet[top : top + 32, 72:104] == np.asarray(patch["post"])).all()


@pytest.mark.parametrize("condition", ["coarse4", "hole"])
def test_what_is_restored_is_shown_damaged(tmp_path: Path, arguments: Arguments, condition: str) -> None:
    """A whole run: in the first column is what the network was given, and not the other image of the pair."""
    config = parse_config(arguments("run", *VALIDATED, f"--model.condition={condition}"))
    run(arguments("run", *VALIDATED, f"--model.condition={condition}"))
    held_out, _, _ = prepared(config)
    given = held_out.examples[0]["condition"][:3].permute(1, 2, 0)
    with Image.open(tmp_path / "run/validation/step-00000006/images.png") as sheet:
        shown = np.asarray(sheet)[16:48, :32]
    assert np.array_equal(given, shown)


def arguments_dataset(arguments: Arguments) -> Path:
    return parse_config(arguments("any")).data.dataset


def test_the_best_checkpoint_stays_and_is_marked(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.25, 0.75, 0.3])
    monkeypatch.setattr("train.boundary.validate", lambda *parts: {"validation_loss": next(losses)})
    often = ["--validation.every=2", "--train.steps=8", "--run.save_every=100", "--run.keep_last=1"]
    run(arguments("run", *often))
    checkpoints = tmp_path / "run/checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["best", "step-00000004", "step-00000008"]
    assert (checkpoints / "best").resolve() == step_folder(checkpoints, 4).resolve()


def test_what_was_stopped_before_or_in_a_validation_is_validated_at_the_next_start(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(arguments("straight", *VALIDATED, WITH_EMA))
    with monkeypatch.context() as patch:
        patch.setattr("train.boundary.validate", lambda *parts: None)  # broken off
        assert run(arguments("stopped", *VALIDATED, WITH_EMA)) == 75
    assert step_folder(tmp_path / "stopped/checkpoints", 3).is_dir() and not validations(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr("train.boundary.validate", lambda *parts: {"validation_loss": 1.0} if parts[-2] == 3 else None)
        assert run(arguments("stopped", *VALIDATED, WITH_EMA)) == 75
    assert run(arguments("stopped", *VALIDATED, WITH_EMA)) == 0  # only the last validation was missing
    assert validations(tmp_path / "stopped")[1] == validations(tmp_path / "straight")[1]
    assert run(arguments("stopped", *VALIDATED, WITH_EMA)) == 0


def test_a_stop_breaks_a_validation_off(tmp_path: Path, arguments: Arguments) -> None:
    config = parse_config(arguments("run", *VALIDATED))
    held_out, denoiser, schedule = prepared(config)
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 5

    assert validate(Accelerator(cpu=True), held_out, denoiser, schedule, unchanged, 0, stop) is None
    assert len(asked) == 5


def test_a_lora_alone_has_no_control_gap(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("run", *VALIDATED, "--model.trained=lora", "--train.steps=3"))
    (line,) = validations(tmp_path / "run")
    assert "psnr_outside" in line and not [name for name in line if name.startswith("control_gap")]


def test_a_dataset_without_the_split_names_every_way_out(tmp_path: Path, arguments: Arguments) -> None:
    config = parse_config(arguments("run", *VALIDATED, "--validation.split=val"))
    with pytest.raises(
        ConfigError, match=r"has only train, validation, test.*validation\.split.*every: 0.*pre2post build"
    ):
        open_held_out(config, stages_of(config))


def test_masks_of_a_manifest_are_damage_masks() -> None:
    check_masks(Dataset.from_dict({"labels": ["mask", "post", "both"], "patch_id": ["a", "b", "c"]}))
    with pytest.raises(ConfigError, match="2 patches have no damage mask, first b"):
        check_masks(Dataset.from_dict({"labels": ["mask", "pre", "none"], "patch_id": ["a", "b", "c"]}))
