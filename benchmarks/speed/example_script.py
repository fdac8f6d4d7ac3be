"""diffusers' own `train_controlnet.py`, run as it is from wherever it lies, with a line of metrics for every window.

    python -m benchmarks.speed.example_script --out=OUT --script=train_controlnet.py --window=1 OPTIONS OF THE SCRIPT

It logs after every step through accelerate, where its steps are counted: nothing of it is changed or copied, and
nothing of ours is imported, which would be in its start-up and memory.
"""

import argparse
import json
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator


def main() -> None:
    """Run the script and write metrics beside it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, kind in (("out", Path), ("script", Path), ("window", int), ("batch", int)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    own, options = parser.parse_known_args()
    own.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()

    def log(self: Accelerator, values: dict[str, Any], step: int, **_: object) -> None:
        nonlocal started
        if step % own.window:
            return
        seconds = time.perf_counter() - started
        line = {
            "step": step,
            "loss": values["loss"],
            "examples_per_second": own.window * own.batch / seconds,
            "data_wait": 0.0,  # unknown
            "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9
            if self.device.type == "cuda"
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,  # Linux counts in KiB
        }
        with (own.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        started = time.perf_counter()

    Accelerator.log = log
    Accelerator.init_trackers = lambda *_, **__: None
    sys.argv = [str(own.script), *options, f"--output_dir={own.out / 'script'}"]
    runpy.run_path(str(own.script), run_name="__main__")


if __name__ == "__main__":
    main()
