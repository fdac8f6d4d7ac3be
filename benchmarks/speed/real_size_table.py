r"""Effect of each option on memory and speed, at full size.

    python -m benchmarks.speed.real_size_table --configs real/base_configs/stable-diffusion-2-1 \
        --dataset DATASET --work WORK

Every row is a run of the real trainer in a separate process (benchmarks/speed/real_size.py); about two minutes each.
"""

import json
import subprocess
import sys
from pathlib import Path

from jsonargparse import auto_cli

ROWS: list[tuple[str, str, list[str]]] = [
    ("fp32", "fp32", []),
    ("fp32, cache off", "fp32", ["--run.cache_in=off"]),
    ("bf16", "bf16", []),
    ("bf16, cache off", "bf16", ["--run.cache_in=off"]),
    ("... condition: latents", "bf16", ["--model.condition=latents"]),
    ("... gradient_checkpointing", "bf16", ["--model.gradient_checkpointing=true"]),
    ("... base_checkpointing", "bf16", ["--model.base_checkpointing=true"]),
    ("... channels_last", "bf16", ["--model.channels_last=true"]),
    ("... ema_decay: 0.999", "bf16", ["--train.ema_decay=0.999"]),
    ("... optimizer: adamw8bit", "bf16", ["--train.optimizer=adamw8bit"]),
    ("... trained: controlnet-lora", "bf16", ["--model.trained=controlnet-lora"]),
    ("... trained: t2i-adapter", "bf16", ["--model.trained=t2i-adapter"]),
    ("... trained: t2i-adapter-light", "bf16", ["--model.trained=t2i-adapter-light"]),
    ("... trained: lora", "bf16", ["--model.trained=lora"]),
    ("... trained: controlnet+lora", "bf16", ["--model.trained=controlnet+lora"]),
    ("... trained: lora+concat", "bf16", ["--model.trained=lora+concat"]),
]


def real_size_table(*, configs: Path, dataset: Path, work: Path, batch: int = 2, steps: int = 3) -> None:
    """Print a row per option, in the format of docs/training.md.

    Args:
        configs: a diffusers folder with config files only.
        dataset: a built dataset; its `train` split is used.
        work: folder for the random base, the cache and the runs.
        batch: examples per step, in one micro-batch.
        steps: of each run; the last one is reported.
    """
    print("| run | peak memory | step | CPU time per step |\n|---|---|---|---|", flush=True)
    for name, precision, options in ROWS:
        command = [sys.executable, "-m", "benchmarks.speed.real_size", "--configs", str(configs)]
        command += [
            "--dataset",
            str(dataset),
            "--work",
            str(work),
            "--precision",
            precision,
            "--batch",
            str(batch),
            "--steps",
            str(steps),
        ]
        done = subprocess.run([*command, "--options", json.dumps(options)], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | {done.stderr.strip().splitlines()[-1]} | | |", flush=True)
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {name} | {found['peak_memory_gb']:.2f} GB | {found['seconds_per_step']} s "
            f"| {found['core_seconds_per_step']} core-seconds |",
            flush=True,
        )


if __name__ == "__main__":
    auto_cli(real_size_table, as_positional=False)
