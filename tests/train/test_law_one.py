"""An example is a pure function of (dataset, config, seed, ordinal), whoever draws it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import Arguments, run
from train.objective import denoising_loss

REPOSITORY = Path(__file__).parents[2]


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def fingerprints(out: Path) -> list[str]:
    return [json.loads(line)["fingerprint"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def torchrun(processes: int, argv: list[str]) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    result = subprocess.run(
        [*command, "-m", "train", *argv],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_draw_what_one_draws(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("one"))
    torchrun(2, arguments("two"))
    assert fingerprints(tmp_path / "one") == fingerprints(tmp_path / "two")
    assert len(set(fingerprints(tmp_path / "one"))) == 6
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_micro_batch_and_workers_change_nothing(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("whole", "--train.micro_batch=4"))
    run(arguments("parts", "--train.micro_batch=1", "--run.workers=2"))
    assert fingerprints(tmp_path / "whole") == fingerprints(tmp_path / "parts")
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_another_seed_draws_other_examples(tmp_path: Path, arguments: Arguments) -> None:
    run(arguments("zero", "--train.steps=2"))
    run(arguments("one", "--train.steps=2", "--train.seed=1"))
    assert not set(fingerprints(tmp_path / "zero")) & set(fingerprints(tmp_path / "one"))


def test_the_base_stays_frozen(tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def watching(unet: Any, controlnet: Any, *rest: Any) -> torch.Tensor:
        if not seen:
            seen.update(unet=unet, before={name: weight.clone() for name, weight in unet.state_dict().items()})
            seen["controlnet"] = {name: weight.clone() for name, weight in controlnet.state_dict().items()}
        seen["trained"] = controlnet
        return denoising_loss(unet, controlnet, *rest)

    monkeypatch.setattr("train.loop.denoising_loss", watching)
    run(arguments("run"))
    after = seen["unet"].state_dict()
    assert all(torch.equal(seen["before"][name], after[name]) for name in after)
    trained = seen["trained"].state_dict()
    changed = {name for name, weight in trained.items() if not torch.equal(weight, seen["controlnet"][name])}
    assert "controlnet_mid_block.weight" in changed  # the ControlNet did train
