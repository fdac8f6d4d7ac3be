"""An example is a pure function of (dataset, config, seed, ordinal), whoever draws it."""

import math
from pathlib import Path

import pytest
from torch import nn

from models import load_base
from tests.forked import in_two_processes
from tests.train.conftest import Arguments, fingerprints, gradient_norms, losses, run


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        [],
        [
            "--model.trained=controlnet+lora",
            "--model.condition=coarse4",
            "--train.ema_decay=0.9",
            "--model.gradient_checkpointing=true",
        ],
        ["--model.trained=lora+concat", "--train.precision=fp16"],
        ["--model.condition=hole"],
    ],
    ids=["controlnet", "coarse, controlnet+lora", "lora+concat in fp16", "hole"],
)
def test_two_processes_draw_what_one_draws(
    tmp_path: Path, arguments: Arguments, micro_base: Path, options: list[str]
) -> None:
    run(arguments("one", *options))
    in_two_processes("train", *arguments("two", *options))
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert len(set(fingerprints(tmp_path / "one"))) == 6
    tolerance = half_precision_error(micro_base) if "--train.precision=fp16" in options else 1e-5
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=tolerance)
    assert gradient_norms(tmp_path / "two") == pytest.approx(gradient_norms(tmp_path / "one"), rel=tolerance)


def half_precision_error(base: Path) -> float:
    """How far two gradients of the same network in float16 may lie apart when something is rounded the other way.

    Float32 sums in another order move a weight by 1e-7; rounded to float16, it is now and then the next number, a unit
    roundoff away. A gradient has passed every layer twice, and independent roundings add up as a random walk (Higham
    and Mary 2019, "A new approach to probabilistic rounding error analysis", theorem 2.4).
    """
    layers = sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in load_base(base).load_unet().modules())
    return math.sqrt(2 * layers) * 2.0**-11


def test_micro_batch_and_workers_change_nothing(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("whole", "--train.micro_batch=4"))
    run(arguments("parts", "--train.micro_batch=1", "--run.workers=2"))
    assert fingerprints(tmp_path / "whole") == fingerprints(tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    assert gradient_norms(tmp_path / "parts") == pytest.approx(gradient_norms(tmp_path / "whole"), rel=1e-5)


def test_another_seed_draws_other_examples(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("zero", "--train.steps=2"))
    run(arguments("one", "--train.steps=2", "--train.seed=1"))
    assert not set(fingerprints(tmp_path / "zero")) & set(fingerprints(tmp_path / "one"))
