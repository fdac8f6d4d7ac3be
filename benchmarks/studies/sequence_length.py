"""Held-out loss as a function of the number of pre-event images of a 3D ControlNet.

    python -m benchmarks.studies.sequence_length --work runs/sequences

Simulated places with four earlier images each; clouds hide half of every image, a different half of each. One
training for each number of images on the tiny base, from the same seed, with the given number of optimizer steps. Every
held-out patch is evaluated with the same noise at the same timesteps for all of them, so that they are compared in
pairs; the interval of the mean difference is bootstrapped over scenes, whose patches are correlated. The same command
resumes where it was stopped.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import default_collate

from data.build import build
from data.dataset.open import open_dataset
from data.examples.sampler import view_of
from data.simulation.simulate import simulate
from evaluation.estimate import weighted_mean
from generate.checkpoint import open_checkpoint
from models import load_base
from models.trained import load_trained
from train.config import Config
from train.config_file import parse_config
from train.loop import train
from train.networks import build_denoiser, noise_schedule
from train.objective import denoising_loss
from train.saving.run_files import read_metrics
from train.stages import stages_of
from train.watching.validation import SEED, prepare_validation

HISTORY = 4
BATCH = 8


def main() -> None:
    """Compute what is missing, evaluate, print the table and write it to WORK/results.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=50, help="simulated; every fifth is held out")
    parser.add_argument("--lengths", default="1,3,5", help="numbers of images")
    parser.add_argument("--steps", default="1600,900,600", help="optimizer steps for each: about the same time")
    parser.add_argument("--controlnet", default="3d", help="or 3d+attention")
    options = parser.parse_args()
    if not (options.work / "release").exists():
        simulate(out=options.work / "release", scenes=options.scenes, seed=0, history=HISTORY)
    if not (options.work / "dataset").exists():
        build(source=options.work / "release", out=options.work / "dataset", size=128)
    lengths, steps = ([int(part) for part in text.split(",")] for text in (options.lengths, options.steps))
    results = []
    for images, count in zip(lengths, steps, strict=True):
        config = experiment(options.work, images, count, options.controlnet)
        if train(config):
            return  # interrupted
        results.append({"images": images, "steps": count, "seconds": seconds_of(config)} | measure(config))
    scenes = [patch["scene_id"] for patch in open_dataset(options.work / "dataset", "test").select_columns("scene_id")]
    (options.work / "results.json").write_text(json.dumps({"scenes": scenes, "results": results}, indent=1))
    print(table(results, scenes))


def experiment(work: Path, images: int, steps: int, controlnet: str) -> Config:
    """One training: the rates of configs/demo.yaml; a 3D ControlNet with metadata; half the side, for speed."""
    settings: dict[str, Any] = {
        "data.dataset": work / "dataset",
        "data.resolution": 64,
        "data.mirror": False,
        "data.sequence": images,
        "model.base": "tiny",
        "model.controlnet": controlnet,
        "model.metadata": "control",
        "train.steps": steps,
        "train.global_batch": BATCH,
        "train.micro_batch": BATCH,
        "train.learning_rate": 1.2e-3,
        "train.warmup_steps": steps // 20,
        "train.decay_steps": steps * 6 // 10,
        "train.ema_decay": 0.99,
        "train.precision": "fp32",
        "validation.split": "test",
        "validation.examples": 100_000,
        "validation.images": 0,
        "run.out": work / f"{controlnet}_{images}_images_{steps}_steps",
        "run.cache": work / "cache",
        "run.log_every": 25,
        "run.save_every": 200,
        "run.keep_last": 1,
        "run.workers": 1,
        "run.trackers": "[]",
    }
    return parse_config([f"--{name}={value}" for name, value in settings.items()])


def seconds_of(config: Config) -> float:
    """Seconds that its steps took."""
    lines = read_metrics(config.run.out)
    counts = np.diff([0, *(line["step"] for line in lines)])
    return float(sum(count * BATCH / line["examples_per_second"] for count, line in zip(counts, lines, strict=True)))


@torch.no_grad()
def measure(config: Config) -> dict[str, list[float]]:
    """Loss of every held-out patch, averaged over timesteps, with and without control."""
    accelerator, base = Accelerator(cpu=True), load_base(config.model.base)
    schedule = noise_schedule(base, zero_terminal_snr=False)
    split = open_dataset(config.data.dataset, config.validation.split)
    held_out = prepare_validation(accelerator, config, stages_of(config)[0], base, schedule, split)
    denoiser = build_denoiser(base, config.model, "fp32", config.train.seed, accelerator.device)
    weights = load_trained(open_checkpoint(config.run.out).weights)
    for name, weight in denoiser.trained().items():
        weight.copy_(weights[name])
    losses = np.zeros((2, len(split)))
    for first in range(0, len(split), BATCH):
        ordinals = range(first, min(first + BATCH, len(split)))
        patches = [held_out.examples.views[view_of(SEED, each, len(split))].patch for each in ordinals]
        batch = default_collate([held_out.examples[each] for each in ordinals])
        for timestep in held_out.timesteps:
            batch["timestep"] = torch.full_like(batch["timestep"], timestep)
            losses[0, patches] += denoising_loss(denoiser, schedule, batch)[1].numpy() / len(held_out.timesteps)
            with denoiser.without_control():
                losses[1, patches] += denoising_loss(denoiser, schedule, batch)[1].numpy() / len(held_out.timesteps)
    return {"losses": losses[0].tolist(), "without": losses[1].tolist()}


def table(results: list[dict[str, Any]], scenes: list[str]) -> str:
    """Markdown table; differences are to the first row, with their 95 % interval."""
    lines = [
        "| images | steps | seconds | loss | less than with one, 95 % interval | without control |",
        "|---:|---:|---:|---:|---|---:|",
    ]
    for result in results:
        losses = np.array(result["losses"])
        less = np.array(results[0]["losses"]) - losses
        found = weighted_mean(less[:, None], np.ones(len(less)), scenes)
        gain = f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})" if result is not results[0] else ""
        lines.append(
            f"| {result['images']} | {result['steps']:,} | {result['seconds']:.0f} | {losses.mean():.4f} | {gain} "
            f"| {np.mean(result['without']):.4f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
