"""The whole main job, small, but nothing in it is a stand-in: the installed command first, then what it calls."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel

from tests.forked import ended, forked
from tests.worlds import REPOSITORY


def call(log: Path, module: str, *argv: object) -> str:
    status = ended(forked(log, {}, module, *map(str, argv)))
    assert status == 0, log.read_text()[-3000:]
    return log.read_text()


@pytest.mark.slow
def test_simulate_build_train_generate_evaluate(tmp_path: Path) -> None:
    release, dataset, run, images, scores = (tmp_path / name for name in ("r", "d", "run", "images", "scores"))
    installed = Path(sys.executable).parent / "pre2post"
    subprocess.run([installed, "simulate", "--out", release, "--scenes", "6", "--seed", "3"], cwd=tmp_path, check=True)
    pre2post = partial(call, tmp_path / "log", "launch.cli")
    assert "96 patches of 6 scenes" in pre2post("build", "--source", release, "--out", dataset, "--size", 256)
    training = [f"--config={REPOSITORY / 'configs' / 'demo.yaml'}", f"--data.dataset={dataset}"]
    training += [f"--run.out={run}", f"--run.cache={tmp_path / 'cache'}", "--data.mirror=false"]
    training += ["--train.steps=4", "--train.warmup_steps=0", "--train.decay_steps=0"]
    call(tmp_path / "log", "train", *training)

    checkpoint = run / "checkpoints" / "step-00000004"
    stock = ControlNetModel.from_pretrained(checkpoint / "controlnet")
    assert any(torch.any(weight != 0) for weight in stock.controlnet_mid_block.parameters())

    pre2post("generate", "--checkpoint", run, "--pre", dataset, "--out", images, "--limit", 2, "--steps", 3)
    assert len(list(images.glob("*.png"))) == 2
    options = ("--checkpoint", run, "--dataset", dataset, "--out", scores, "--networks", "none")
    table = pre2post("evaluate", *options, "--limit", 2, "--steps", 3)
    assert "base without control" in table
    assert (scores / "report.html").is_file()
    assert len(json.loads((scores / "results.json").read_text())["per_patch"]) == 2
