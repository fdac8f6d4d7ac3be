"""Peak memory and time of generating whole scenes of growing size.

    python -m benchmarks.speed.scene_memory --checkpoint RUN --work WORK --sizes [1024,2048,4096]

Each size runs `pre2post generate` in a separate process on a GeoTIFF of noise.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from jsonargparse import auto_cli
from rasterio.windows import Window

STRIP_PX = 256


def scene_memory(
    *,
    checkpoint: Path,
    work: Path,
    sizes: list[int],
    base: str | None = None,
    window: int | None = None,
    overlap: float = 0.25,
    steps: int = 1,
) -> None:
    """Print a line per size.

    Args:
        checkpoint: a run folder.
        work: folder for scenes and images.
        sizes: sides of the scenes, px.
        base: as in `pre2post generate`.
        window: likewise.
        overlap: likewise.
        steps: denoising steps.
    """
    work.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        scene = write_noise(work / f"scene-{size}.tif", size)
        options = {
            "checkpoint": checkpoint,
            "pre": scene,
            "out": work / f"out-{size}",
            "prompt": "after a flood",
            "overlap": overlap,
            "steps": steps,
            **{name: value for name, value in (("window", window), ("base", base)) if value},
        }
        command = [
            sys.executable,
            "-m",
            "launch.cli",
            "generate",
            *(f"--{name}={text}" for name, text in options.items()),
        ]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"pre2post generate failed with status {os.waitstatus_to_exitcode(status)}")
        peak_mb = usage.ru_maxrss * 1024 / 1e6  # Linux counts in KiB
        seconds = time.perf_counter() - begun
        print(json.dumps({"size_px": size, "peak_memory_mb": round(peak_mb), "seconds": round(seconds, 1)}), flush=True)


def write_noise(path: Path, size: int) -> Path:
    """A tiled GeoTIFF, written in strips so that the benchmark itself needs little memory."""
    if not path.exists():
        rng = np.random.default_rng(0)
        profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "tiled": True}
        transform = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000)
        with rasterio.open(path, "w", crs="EPSG:32616", transform=transform, **profile) as target:
            for top in range(0, size, STRIP_PX):
                rows = min(STRIP_PX, size - top)
                target.write(rng.integers(1, 256, (3, rows, size), np.uint8), window=Window(0, top, size, rows))
    return path


if __name__ == "__main__":
    auto_cli(scene_memory, as_positional=False)
