r"""`pre2post generate`'s networks compared with diffusers' ControlNet pipeline: processor seconds, memory, start-up.

    python -m benchmarks.speed.sampling --work out/bench --configs real/base_configs/stable-diffusion-2-1

Each program runs in a separate process, in turns, on the same folders, images, captions and seeds, at equal precision.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from jsonargparse import auto_cli

from benchmarks.floor import matmul_rate
from benchmarks.results import RESULTS, write_section
from benchmarks.speed.train_step import SIZES, base_of
from data.examples.condition import condition_of
from generate.checkpoint import open_base, open_checkpoint
from generate.generator import generate_images, load_generator
from generate.sampling import Sampling
from models.base import Base
from models.checkpoint import step_folder, write_checkpoint
from models.cpu.precision import DTYPES, compute_type
from models.families.family import NewControlNet
from train.watching.metrics_log import peak_memory_gb

Name = Literal["stock", "ours"]
Precision = Literal["fp32", "bf16"]
PROMPTS, SEEDS = ["after a flood", "after a fire"], [7, 8]


def sampling(
    *,
    work: Path,
    configs: Path | None = None,
    base: Literal["sd21", "tiny"] = "sd21",
    steps: int = 8,
    rounds: int = 2,
    results: Path = RESULTS,
    only: tuple[Name, Precision] | None = None,
) -> None:
    """Compare, print, and write a section.

    Args:
        work: folder for the random base and checkpoint; existing ones are reused.
        configs: config files of Stable Diffusion 2.1 in diffusers' layout.
        base: which.
        steps: denoising steps, without guidance.
        rounds: processes per program.
        results: the file to write to.
        only: measure one program in this process and print a line, as the benchmark itself asks for.
    """
    size = SIZES[base]
    parts, run = base_of(size, work, configs), work / f"sampling-{base}"
    if not run.exists():
        write_untrained(run, parts, size.resolution)
    if only:
        print(json.dumps(measured(*only, run, parts, steps)))
        return
    names: tuple[Name, ...] = ("stock", "ours")
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for precision in ("fp32", "bf16"):
        for turn in range(rounds):
            for name in names[:: 1 if turn % 2 == 0 else -1]:
                options = [f"--work={work}", f"--base={base}", f"--steps={steps}", f"--only=[{name},{precision}]"]
                command = [sys.executable, "-m", "benchmarks.speed.sampling", *options]
                line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
                found.setdefault((name, precision), []).append(json.loads(line))
                print(name, precision, line, flush=True)
    title = f"Images: {size.base}, {size.resolution} px, {steps} steps, batch {len(PROMPTS)}"
    write_section(title, report(found), results)


def write_untrained(run: Path, base: Base, resolution: int) -> None:
    """A run folder with a checkpoint of an untrained ControlNet."""
    asked = NewControlNet(seed=0, vae_scale_factor=base.vae_scale_factor)
    controlnet = base.family.new_controlnet(base.load_unet(), asked)
    state = {
        "format": 1,
        "step": 1,
        "base": {"name": str(base.folder), "unet_sha256": base.network_hash, "family": base.family.key},
        "dataset_fingerprint": "0" * 64,
        "resolution": resolution,
        "caption_style": "short",
        "trained": "controlnet",
        "condition": "pixels",
        "direction": "future",
        "text_chunks": 1,
        "zero_terminal_snr": False,
        "config": {},
        "versions": {},
        "commit": "",
    }
    write_checkpoint(
        step_folder(run / "checkpoints", 1), state, lambda folder: controlnet.save_pretrained(folder / "controlnet")
    )


def measured(name: Name, precision: Precision, run: Path, base: Base, steps: int) -> dict[str, Any]:
    """Seconds of loading, and of the second batch; peak memory of the process."""
    device = PartialState(cpu=not torch.cuda.is_available()).device
    side = open_checkpoint(run).resolution
    pre = list(np.random.default_rng(0).integers(0, 256, (len(PROMPTS), side, side, 3), np.uint8))
    started = time.perf_counter()
    make = (ours if name == "ours" else stock)(run, base, precision, steps, pre)
    loaded = time.perf_counter() - started
    make()
    wall, processor = time.perf_counter(), time.process_time()
    make()
    return {
        "load_s": round(loaded, 2),
        "wall_s": round((time.perf_counter() - wall) / len(PROMPTS), 3),
        "processor_s": round((time.process_time() - processor) / len(PROMPTS), 3),
        "peak_memory_gb": round(peak_memory_gb(device), 2),
        "matmul_tflops": round(matmul_rate(compute_type(precision, device), device) / 1e12, 3),
    }


def ours(run: Path, base: Base, precision: Precision, steps: int, pre: list[Any]) -> Callable[[], object]:
    """As `pre2post generate` makes a batch."""
    how, checkpoint = Sampling(steps=steps, precision=precision), open_checkpoint(run)
    generator = load_generator(checkpoint, open_base(checkpoint, str(base.folder)), how)
    assert generator.condition == condition_of("controlnet", "pixels")
    return lambda: generate_images(generator, pre, PROMPTS, SEEDS, how)


def stock(run: Path, base: Base, precision: Precision, steps: int, pre: list[Any]) -> Callable[[], object]:
    """As its documentation shows."""
    pipeline, image = stock_pipeline(run, base, precision), torch.from_numpy(np.stack(pre)).permute(0, 3, 1, 2) / 255
    return lambda: pipeline(
        PROMPTS,
        image=image,
        num_inference_steps=steps,
        guidance_scale=1.0,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="np",
    )


def stock_pipeline(run: Path, base: Base, precision: Precision) -> StableDiffusionControlNetPipeline:
    """Diffusers' own, with the ControlNet of a run folder."""
    dtype = DTYPES[precision]
    controlnet = ControlNetModel.from_pretrained(open_checkpoint(run).weights / "controlnet", torch_dtype=dtype)
    pipeline = StableDiffusionControlNetPipeline(
        vae=base._class("vae").from_pretrained(base.folder, subfolder="vae", torch_dtype=dtype),
        text_encoder=base._class("text_encoder").from_pretrained(base.folder, subfolder="text_encoder", dtype=dtype),
        tokenizer=base.load_tokenizer(),
        unet=base._class("unet").from_pretrained(base.folder, subfolder="unet", torch_dtype=dtype),
        controlnet=controlnet,
        scheduler=base.load_sampler(),
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    ).to(PartialState().device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def report(found: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """The table, in Markdown: ratios above 1 are in our favour, of memory below 1."""
    rows = [
        "Seconds of an image, of the wall clock and of all threads; only the latter compare on a busy machine.",
        "",
        "| program | wall, s | processor, s | load, s | peak memory, GB | matmul, TFLOP/s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    fields = ("wall_s", "processor_s", "load_s", "peak_memory_gb", "matmul_tflops")
    middle = {program: {name: median(run[name] for run in runs) for name in fields} for program, runs in found.items()}
    rows += [
        f"| {', '.join(program)} | {' | '.join(f'{of[name]:.2f}' for name in fields)} |"
        for program, of in middle.items()
    ]
    rows += ["", "| stock / ours | wall | processor | memory, ours / stock |", "|---|---:|---:|---:|"]
    for precision in dict.fromkeys(precision for _, precision in found):
        ours_, theirs = middle["ours", precision], middle["stock", precision]
        ratios = [theirs[name] / ours_[name] for name in fields[:2]] + [
            ours_["peak_memory_gb"] / theirs["peak_memory_gb"]
        ]
        rows.append(f"| {precision} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    auto_cli(sampling, as_positional=False)
