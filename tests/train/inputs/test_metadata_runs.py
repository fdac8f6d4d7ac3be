"""Runs that are told metadata: they train, resume, validate and generate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from data.dataset.open import open_dataset
from data.examples.sampler import view_of
from generate.checkpoint import open_base, open_checkpoint
from generate.generator import generate_images, load_generator
from generate.run import generate
from generate.sampling import Sampling
from models import load_base
from models.checkpoint import step_folder
from models.denoiser import Denoiser
from models.diffusionsat.controlnet import SatControlNet
from tests.train.conftest import Arguments, losses, run
from tests.train.inputs.test_metadata import SHORT
from train.config_file import parse_config
from train.objective import denoising_loss
from train.stages import stages_of
from train.watching.validation import SEED, prepare_validation

FAST = "--train.learning_rate=0.02"  # what four steps learn is seen in images
RUNS: dict[str, list[str]] = {
    "sat": [],
    "past": ["--data.direction=past", "--model.null_metadata=zero"],
    "lora": ["--model.trained=lora"],
    "concat": ["--model.trained=lora+concat"],
    "control": ["--model.metadata=control"],
}


def test_checkpointing_changes_no_loss(tmp_path: Path, arguments: Arguments, sat_base: Path) -> None:
    base = [f"--model.base={sat_base}", "--model.trained=controlnet+lora", *SHORT]
    run(arguments("plain", *base))
    run(arguments("less", *base, "--model.gradient_checkpointing=true", "--model.base_checkpointing=true"))
    assert losses(tmp_path / "less") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)


@pytest.mark.parametrize("kind", RUNS)
def test_trains_resumes_validates_and_generates(
    kind: str, tmp_path: Path, arguments: Arguments, sat_base: Path, micro_base: Path, tiny_dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bit for bit after an interruption; the base as it was; images from a folder that loads by itself."""
    base = micro_base if kind == "control" else sat_base
    validation = ["--validation.every=2", "--validation.split=train", "--validation.examples=2"]
    validation += ["--validation.images=1", "--validation.timesteps=1", "--validation.sampling_steps=2"]
    options = [f"--model.base={base}", *SHORT, *RUNS[kind], *validation, "--train.ema_decay=0.5", FAST]
    denoisers: list[Denoiser] = []

    def watching(denoiser: Any, *rest: Any, **more: Any) -> Any:
        denoisers.append(denoiser)
        return denoising_loss(denoiser, *rest, **more)

    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # nothing is looked for beside the working folder
        patch.setattr("train.loop.denoising_loss", watching)
        run(arguments("run", *options))
    frozen = {
        name.removeprefix("unet.").replace(".base_layer", "").replace("conv_in.base", "conv_in"): weight
        for name, weight in denoisers[-1].named_parameters()
        if not weight.requires_grad
    }
    theirs = load_base(base).load_unet().state_dict()
    assert frozen.keys() == theirs.keys() and all(torch.equal(frozen[name], theirs[name]) for name in theirs)

    out, last = tmp_path / "run", step_folder(tmp_path / "run/checkpoints", 4)
    weights = {path.relative_to(last): load_file(path) for path in last.rglob("*.safetensors")}
    straight = (out / "metrics.jsonl").read_text()
    (last / "MANIFEST.json").unlink()
    run(arguments("run", *options))
    for path, tensors in weights.items():
        again = load_file(last / path)
        assert all(torch.equal(again[name], tensors[name]) for name in tensors), path
    kept = ("loss", "fingerprint", "validation_loss", "psnr_inside")
    lines = [
        [{name: json.loads(line).get(name) for name in kept} for line in text.splitlines()]
        for text in (straight, (out / "metrics.jsonl").read_text())
    ]
    assert lines[0] == lines[1] and any(line["validation_loss"] for line in lines[0])

    kinds = {path.suffix for path in (out / "checkpoints").rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json"}  # no pickles
    if (last / "controlnet").is_dir():
        SatControlNet.from_pretrained(last / "controlnet")
    made, once = tmp_path / "made", Sampling(steps=1)
    generate(checkpoint=out, pre=tiny_dataset, split="train", out=made, sampling=once, limit=2)
    check_generation(out, row=open_dataset(tiny_dataset, "train")[0])


def check_generation(out: Path, row: dict[str, Any]) -> None:
    """The image follows the metadata, in a batch as alone; nothing of one call is left for the next."""
    checkpoint = open_checkpoint(out)
    sampling = Sampling(steps=3, guidance_scale=3.0)
    networks = load_generator(checkpoint, open_base(checkpoint), sampling)
    one = (row["metadata_post"], row["metadata_pre"])
    later = ([*row["metadata_post"][:4], 2030, 1, 1], row["metadata_pre"])
    shown = np.array(row["pre"])

    def made(*metadata: Any, **other: Any) -> Any:
        count = len(metadata)
        return generate_images(
            networks, [shown] * count, ["x"] * count, [5] * count, sampling, metadata=list(metadata), **other
        ).astype(int)

    alone, together = made(one), made(one, later)
    assert np.abs(together[0] - alone[0]).max() <= 1
    assert np.abs(together[1] - alone[0]).max() > 1
    unknown = generate_images(networks, [shown], ["x"], [5], sampling)
    assert np.abs(unknown.astype(int)[0] - alone[0]).max() > 1
    assert np.array_equal(made(one), alone)


def test_validation_is_told_the_whole_metadata(arguments: Arguments, sat_base: Path, tiny_dataset: Path) -> None:
    """The original's validation passes none, and fails; here nothing is dropped from it either."""
    config = parse_config(
        arguments("run", f"--model.base={sat_base}", "--data.metadata_dropout=1", "--validation.every=1")
    )
    base, split = load_base(sat_base), open_dataset(tiny_dataset, "train")
    stage, schedule = stages_of(config)[0], base.load_noise_schedule()
    held_out = prepare_validation(Accelerator(cpu=True), config, stage, base, schedule, split)
    for ordinal in range(len(held_out.patches)):
        view = held_out.examples.views[view_of(SEED, ordinal, len(held_out.patches))]
        row, drawn = held_out.patches[view.patch], held_out.examples[ordinal]
        assert drawn["metadata"].isnan().tolist() == np.isnan(row["metadata_post"]).tolist()
        assert drawn["cond_metadata"].isnan().tolist() == np.isnan(row["metadata_pre"]).tolist()
