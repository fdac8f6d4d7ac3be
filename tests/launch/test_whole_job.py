"""The whole main job through the commands that a user types: small, but nothing in it is a stand-in."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel

REPOSITORY = Path(__file__).parents[2]
PRE2POST = Path(sys.executable).parent / "pre2post"


def call(*command: object) -> str:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.mark.slow
def test_simulate_build_train_generate_evaluate(tmp_path: Path) -> None:
    release, dataset, run, images, scores = (tmp_path / name for name in ("r", "d", "run", "images", "scores"))
    call(PRE2POST, "simulate", "--out", release, "--scenes", 5, "--seed", 3)
    assert "80 patches of 5 scenes" in call(PRE2POST, "build", "--source", release, "--out", dataset, "--size", 256)
    training = ["-m", "train", f"--config={REPOSITORY / 'configs' / 'demo.yaml'}", f"--data.dataset={dataset}"]
    training += [f"--run.out={run}", f"--run.cache={tmp_path / 'cache'}", "--data.mirror=false"]
    training += ["--train.steps=4", "--train.warmup_steps=0", "--train.decay_steps=0"]
    call(sys.executable, *training)

    checkpoint = run / "checkpoints" / "step-00000004"
    stock = ControlNetModel.from_pretrained(checkpoint / "controlnet")
    assert any(torch.any(weight != 0) for weight in stock.controlnet_mid_block.parameters())

    call(PRE2POST, "generate", "--checkpoint", run, "--pre", dataset, "--out", images, "--limit", 2, "--steps", 3)
    assert len(list(images.glob("*.png"))) == 2
    options = ("--checkpoint", run, "--dataset", dataset, "--out", scores, "--networks", "none")
    table = call(PRE2POST, "evaluate", *options, "--limit", 2, "--steps", 3)
    assert "base without control" in table
    assert (scores / "report.html").is_file()
    assert len(json.loads((scores / "results.json").read_text())["per_patch"]) == 2
