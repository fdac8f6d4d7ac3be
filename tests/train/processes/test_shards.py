"""FSDP2: the same training as with whole replicas, and checkpoints that do not tell who wrote them."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from models.checkpoint import step_folder
from tests.forked import in_two_processes
from tests.train.conftest import Arguments, run
from train.config_file import parse_config
from train.errors import ConfigError
from train.processes.replicas import sharding_of
from train.saving.run_files import read_metrics

OPTIONS = ["--train.ema_decay=0.9", "--validation.every=3", "--validation.examples=3"]
OPTIONS += ["--validation.images=1", "--validation.sampling_steps=2", "--validation.timesteps=2"]


def shapes(out: Path, step: int) -> dict[str, list[tuple[str, str, list[int]]]]:
    """Of every tensor in every file of a checkpoint: name, type, shape."""
    folder = step_folder(out / "checkpoints", step)
    return {
        str(path.relative_to(folder)): sorted((n, str(x.dtype), list(x.shape)) for n, x in load_file(path).items())
        for path in sorted(folder.rglob("*.safetensors"))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trained", "offload", "reshard"),
    [("controlnet", "false", "false"), ("controlnet+lora", "true", "true")],
    ids=["controlnet, whole between passes", "lora, offload"],
)
def test_sharded_equals_whole_and_each_goes_on_from_the_other(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, trained: str, offload: str, reshard: str
) -> None:
    options = [*OPTIONS, f"--model.trained={trained}"]
    run(arguments("whole", *options))
    run(arguments("begun whole", "--train.steps=3", *options))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", offload)
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", reshard)
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")  # accelerate's default
    # Without a cache on disk every process encodes the texts itself.
    begun = arguments("begun sharded", "--train.steps=3", "--run.cache_in=memory", *options)
    ended = arguments("begun whole", *options)
    in_two_processes("train", *begun)
    in_two_processes("train", *ended)
    monkeypatch.delenv("ACCELERATE_USE_FSDP")
    shutil.copytree(tmp_path / "begun sharded", tmp_path / "sharded at 3")
    run(arguments("begun sharded", *options))

    assert shapes(tmp_path / "sharded at 3", 3) == shapes(tmp_path / "whole", 3)
    files = 7 if "lora" in trained else 3  # a LoRA is written for diffusers and for other tools, also its average
    assert len(shapes(tmp_path / "whole", 3)) == files
    expected = read_metrics(tmp_path / "whole")
    for out in ("begun sharded", "begun whole"):
        found = read_metrics(tmp_path / out)
        assert [line["step"] for line in found] == [line["step"] for line in expected]
        for name in ("loss", "grad_norm", "validation_loss", "fingerprint"):
            wanted = [line[name] for line in expected if name in line]
            assert len(wanted) >= 2
            got = [line[name] for line in found if name in line]
            assert got == (wanted if name == "fingerprint" else pytest.approx(wanted, rel=1e-5)), (out, name)
    assert len(set(step_losses(tmp_path / "whole"))) == 6


def step_losses(out: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(out) if "loss" in line]


@pytest.mark.parametrize(
    ("environment", "options", "said"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, [], "fsdp2_offload.yaml"),
        ({"ACCELERATE_USE_FSDP": "true"}, [], "requests FSDP 1; set fsdp_version: 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, ["--train.precision=fp16"], "train.precision is fp16"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"},
            ["--model.base_bits=4"],
            "base_bits is 4, which was not",
        ),
    ],
)
def test_what_the_trainer_cannot_do_is_refused(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], options: list[str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        run(arguments("run", *options))


def test_moments_in_8_bits_are_not_sharded(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.config_checks.is_installed", lambda package: True)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    with pytest.raises(ConfigError, match="adamw8bit, whose moments cannot be sharded"):
        sharding_of(parse_config(arguments("run", "--train.optimizer=adamw8bit")).train)
