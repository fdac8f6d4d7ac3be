"""Stages are pure functions of the step, and a run through them resumes exactly."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.examples.sampler import OrdinalBatches
from models.checkpoint import read_state, step_folder
from tests.train.conftest import Arguments, fingerprints, losses, run
from train.config_checks import check_batches
from train.config_file import parse_config
from train.errors import ConfigError
from train.stages import stage_at, stages_of

CURRICULUM = "[{from_step: 2, resolution: 16, global_batch: 6}, {from_step: 5, micro_batch: 3}]"


def test_later_stages_keep_what_they_do_not_name() -> None:
    arguments = ["--data.dataset=d", "--run.out=r", "--data.resolution=32", "--train.steps=9", "--train.warmup_steps=0"]
    arguments += ["--train.global_batch=4", "--train.micro_batch=2", f"--train.curriculum={CURRICULUM}"]
    stages = stages_of(parse_config(arguments))
    assert [(s.first_step, s.last_step, s.resolution, s.global_batch, s.micro_batch) for s in stages] == [
        (0, 2, 32, 4, 2),
        (2, 5, 16, 6, 2),
        (5, 9, 16, 6, 3),
    ]
    assert [stage.first_ordinal for stage in stages] == [0, 8, 26]  # 2 x 4, then 3 x 6
    assert [stage_at(stages, step) for step in range(10)] == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2]


def test_batches_go_on_from_the_ordinal_they_are_given() -> None:
    batches = OrdinalBatches(
        first_step=3, last_step=5, first_ordinal=14, global_batch=6, micro_batch=3, rank=0, num_processes=1
    )
    assert [ordinal for batch in batches for ordinal in batch] == list(range(14, 26))


def test_a_run_through_the_stages_resumes_exactly(tmp_path: Path, arguments: Arguments) -> None:
    options = [f"--train.curriculum={CURRICULUM}", "--run.save_every=1", "--run.keep_last=0"]
    run(arguments("straight", *options))
    resumed = tmp_path / "resumed"
    for stop in ("1", "4", "6"):
        ended = [*options, f"--run.out={resumed}"]
        if stop != "6":  # what a kill after this step leaves behind
            run(arguments("resumed", *ended))
            for step in range(int(stop) + 1, 7):
                (step_folder(resumed / "checkpoints", step) / "MANIFEST.json").unlink()
        else:
            run(arguments("resumed", *ended))
        assert len(losses(resumed)) == 6
    assert losses(resumed) == losses(tmp_path / "straight")
    assert fingerprints(resumed) == fingerprints(tmp_path / "straight")
    a, b = (
        load_file(step_folder(out / "checkpoints", 6) / "optimizer.safetensors")
        for out in (resumed, tmp_path / "straight")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)
    states = [read_state(step_folder(resumed / "checkpoints", step)) for step in (2, 3)]
    assert [state["resolution"] for state in states] == [32, 16]  # what a checkpoint generates at


def test_stages_that_do_not_fit_are_named() -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(
            ["--data.dataset=d", "--run.out=r", "--train.curriculum=[{from_step: 9, resolution: 12}, {from_step: 8}]"]
        )
    assert "train.curriculum[0].resolution must be a multiple of 8" in str(error.value)
    assert "train.curriculum[1].from_step is 8; it must be between 9 and train.steps 10000" in str(error.value)
    config = parse_config(["--data.dataset=d", "--run.out=r", "--train.curriculum=[{from_step: 9, global_batch: 6}]"])
    with pytest.raises(ConfigError, match=r"global_batch of train\.curriculum\[0\] is 6; .* The nearest is 8"):
        check_batches(config.train, 1)
