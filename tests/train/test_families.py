"""Training on the other families of bases: interrupted, without a cache, in two processes, validated."""

import json
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from data.dataset.open import open_dataset
from models import load_base
from models.checkpoint import step_folder
from tests.families import ADAPTED, MICRO
from tests.forked import in_two_processes
from tests.train.conftest import Arguments, fingerprints, losses, run
from tests.train.saving.test_resume import assert_same_run
from train.config_file import parse_config
from train.errors import ConfigError
from train.inputs.examples import prepare_examples
from train.stages import stages_of

OPTIONS = {
    "sdxl": ["--train.ema_decay=0.9"],
    "stable_diffusion_3.5": ["--train.ema_decay=0.9", "--model.condition=latents", "--model.controlnet_blocks=1"],
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_interrupted_uncached_or_validated_it_is_the_same_run(tmp_path: Path, arguments: Arguments, kind: str) -> None:
    options = [f"--model.base={MICRO[kind](tmp_path / 'base')}", *OPTIONS[kind], "--run.save_every=2"]
    run(arguments("straight", *options, "--train.steps=4"))
    validated = ["--validation.every=2", "--validation.examples=2", "--validation.images=1"]
    run(arguments("resumed", *options, "--train.steps=2", *validated, "--validation.sampling_steps=2"))
    run(arguments("resumed", *options, "--train.steps=4"))
    metrics = tmp_path / "resumed/metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    (measured,) = [json.loads(line) for line in lines if "validation_loss" in line]
    assert measured["control_gap"] != 0 and (tmp_path / "resumed/validation/step-00000002/images.png").is_file()
    metrics.write_text("".join(line for line in lines if "validation_loss" not in line))
    assert_same_run(tmp_path / "straight", tmp_path / "resumed", step=4)
    run(arguments("uncached", *options, "--train.steps=4", "--run.cache_in=off"))
    assert fingerprints(tmp_path / "uncached") == fingerprints(tmp_path / "straight")
    assert losses(tmp_path / "uncached") == pytest.approx(losses(tmp_path / "straight"), rel=1e-5)


@pytest.mark.parametrize("kind", ["sdxl", "stable_diffusion_3.5", "diffusionsat", "text2earth", "light", "xl"])
def test_a_light_conditioner_resumes_bit_for_bit(tmp_path: Path, arguments: Arguments, kind: str) -> None:
    write, trained = ADAPTED.get(kind, (MICRO.get(kind), "controlnet-lora"))
    assert write is not None
    options = [f"--model.base={write(tmp_path / 'base')}", *OPTIONS.get(kind, []), f"--model.trained={trained}"]
    options += ["--train.precision=bf16", "--run.save_every=2"]
    run(arguments("straight", *options, "--train.steps=4"))
    run(arguments("resumed", *options, "--train.steps=2"))
    run(arguments("resumed", *options, "--train.steps=4"))
    assert losses(tmp_path / "straight") == losses(tmp_path / "resumed")
    one, other = (step_folder(tmp_path / name / "checkpoints", 4) for name in ("straight", "resumed"))
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert len(files) == 2 + OPTIONS.get(kind, []).count("--train.ema_decay=0.9")
    for file in files:
        a, b = load_file(one / file), load_file(other / file)
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a), file


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["controlnet+lora", "controlnet-lora"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_two_processes_train_as_one(tmp_path: Path, arguments: Arguments, kind: str, trained: str) -> None:
    base = MICRO[kind](tmp_path / "base")
    few = ["--model.base_bits=8"] * (kind == "stable_diffusion_3.5" and trained == "controlnet-lora")
    agree(tmp_path, arguments, f"--model.base={base}", *OPTIONS[kind], f"--model.trained={trained}", *few)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADAPTED)
def test_two_processes_train_an_adapter_as_one(tmp_path: Path, arguments: Arguments, kind: str) -> None:
    write, trained = ADAPTED[kind]
    agree(tmp_path, arguments, f"--model.base={write(tmp_path / 'base')}", f"--model.trained={trained}")


def agree(tmp_path: Path, arguments: Arguments, *options: str) -> None:
    """One process and two: the same examples, the same losses."""
    run(arguments("one", *options, "--train.steps=3"))
    in_two_processes("train", *arguments("two", *options, "--train.steps=3"))
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        (
            "sdxl",
            "--model.trained=lora+concat",
            "model.trained is lora.concat, but .* it must be controlnet or .*lora.*not tried",
        ),
        ("stable_diffusion_3", "--model.trained=t2i-adapter", "model.trained is t2i-adapter.*no T2I-Adapter for it"),
        ("sdxl", "--model.trained=t2i-adapter-light", "model.trained is t2i-adapter-light.*no light T2I-Adapter"),
        ("sdxl", "--model.trained=t2i-adapter", "no T2I-Adapter for a UNet of levels .*model.base is"),
        ("sdxl", "--model.metadata=control", "model.metadata is control"),
        ("sdxl", "--model.controlnet_blocks=2", "model.controlnet_blocks is 2.* must be null"),
        (
            "stable_diffusion_3",
            "--model.condition=pixels",
            "model.condition is pixels.* must be latents: its",
        ),
        ("stable_diffusion_3", "--data.resolution=40", "data.resolution is 40; .* multiple of 16"),
        ("stable_diffusion", "--model.controlnet_blocks=2", "all of a UNet's encoder is copied"),
    ],
)
def test_what_a_family_cannot_take_is_said_before_any_weight_is_loaded(
    tmp_path: Path, arguments: Arguments, kind: str, setting: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = MICRO[kind](tmp_path / "base")
    monkeypatch.setattr("models.base.Base._load", None)
    monkeypatch.setattr("models.base.Base.weights_hash", None)
    with pytest.raises(ConfigError, match=said):
        run(arguments("run", f"--model.base={base}", setting))
    assert not (tmp_path / "run").exists()


def test_the_place_of_a_view_is_told(tmp_path: Path, arguments: Arguments) -> None:
    """Rows and columns of the tiny release's patches, mirrored with the image."""
    config = parse_config(
        arguments(
            "run", f"--model.base={MICRO['sdxl'](tmp_path / 'base')}", "--run.cache_in=off", "--data.resolution=64"
        )
    )
    base, dataset = load_base(config.model.base), open_dataset(config.data.dataset, "train")
    examples = prepare_examples(
        Accelerator(cpu=True), config, stages_of(config)[0], base, base.load_noise_schedule(), dataset
    )
    seen = set()
    for view in examples.views:
        row = dataset[view.patch]
        mine = [other for other in dataset if other["scene_id"] == row["scene_id"]]
        height, width = (max(other[edge] + other["size"] for other in mine) for edge in ("row", "col"))
        left = width - row["col"] - 32 if view.mirrored else row["col"]
        told = examples._placed(view)["time_ids"]
        assert told.tolist() == [height, width, 2 * row["row"], 2 * left, 64, 64] and told.dtype == torch.float32
        seen.add(tuple(told.tolist()))
    assert len(seen) > 2
