"""An example is a pure function of (dataset, config, seed, ordinal), whoever draws it."""

from pathlib import Path

import pytest

from tests.train.conftest import Arguments, fingerprints, gradient_norms, losses, run
from tests.worlds import torchrun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ([], 1e-5),
        (["--model.trained=controlnet+lora", "--train.ema_decay=0.9", "--model.gradient_checkpointing=true"], 1e-5),
        (["--model.trained=lora+concat", "--train.precision=fp16"], 1e-3),  # half precision: rounding is seen
    ],
    ids=["controlnet", "controlnet+lora", "lora+concat in fp16"],
)
def test_two_processes_draw_what_one_draws(
    tmp_path: Path, arguments: Arguments, options: list[str], tolerance: float
) -> None:
    run(arguments("one", *options))
    torchrun("train", *arguments("two", *options))
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert len(set(fingerprints(tmp_path / "one"))) == 6
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=tolerance)
    assert gradient_norms(tmp_path / "two") == pytest.approx(gradient_norms(tmp_path / "one"), rel=tolerance)


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
