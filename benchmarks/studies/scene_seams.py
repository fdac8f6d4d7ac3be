"""Are the borders of the windows visible in a whole scene?

    python -m benchmarks.studies.scene_seams --checkpoint RUN --pre SCENE.png --prompt "..." --window 256 --work WORK

Generates the scene with blended windows and, for comparison, with adjacent windows. A seam is a line across which
pixels change more than next to it: the step across a window's border over the steps to its left and right is compared
with the same ratio at every other line of the decoder's pattern (8 px times the scale).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jsonargparse import auto_cli
from numpy.typing import NDArray

from generate.checkpoint import open_base, open_checkpoint
from generate.images.read import read_header, read_pixels
from generate.run import generate
from generate.sampling import Sampling
from generate.scenes.scene import windowing
from generate.scenes.windows import Grid


@dataclass(frozen=True)
class Seam:
    """Visibility of the borders."""

    ratio: float  # of the step across borders, each over the adjacent steps, to the same elsewhere; 1 = no seam
    z: float  # the same in standard errors of the mean over all lines: within about 2 is noise


def seam(pixels: NDArray[np.uint8], columns: Sequence[int], rows: Sequence[int], cell: int) -> Seam:
    """Measure the borders of windows.

    Args:
        pixels: (height, width, 3).
        columns: a border lies between pixel column c - 1 and c.
        rows: likewise.
        cell: period of the decoder's pattern, px; borders are compared with other multiples of it only.
    """
    at: list[float] = []
    elsewhere: list[float] = []
    for axis, lines in ((1, set(columns)), (0, set(rows))):
        steps = np.abs(np.diff(pixels.astype(np.float64), axis=axis)).mean(axis=(1 - axis, 2))  # between i and i + 1
        for place in range(cell, pixels.shape[axis] - 2, cell):
            beside = steps[[place - 3, place - 2, place, place + 1]].mean()
            (at if place in lines else elsewhere).append(steps[place - 1] / beside)
    error = np.std(elsewhere, ddof=1) * math.sqrt(1 / len(at) + 1 / len(elsewhere))
    return Seam(float(np.mean(at) / np.mean(elsewhere)), float((np.mean(at) - np.mean(elsewhere)) / error))


def borders(grid: Grid, scale: int) -> tuple[list[int], list[int]]:
    """Columns and rows where a window begins or ends, px; `scale` px per cell of the grid."""
    columns = sorted({scale * edge for left in grid.lefts for edge in (left, left + grid.side)})
    rows = sorted({scale * edge for top in grid.tops for edge in (top, top + grid.side)})
    return columns, rows


def scene_seams(
    *,
    checkpoint: Path,
    pre: Path,
    prompt: str,
    work: Path,
    base: str | None = None,
    window: int | None = None,
    steps: int = 25,
) -> None:
    """Generate and print a table.

    Args:
        checkpoint: a run folder.
        pre: a scene larger than two windows.
        prompt: for it.
        work: folder for the images.
        base: as in `pre2post generate`.
        window: likewise.
        steps: denoising steps.
    """
    trained = open_checkpoint(checkpoint)
    cell = open_base(trained, base).vae_scale_factor
    header = read_header(pre)
    print("| overlap | step across borders relative to elsewhere | standard errors |\n|---|---:|---:|")
    for overlap in (0.0, 0.25, 0.5):
        windows = windowing(trained.resolution, window, overlap)
        out = work / f"overlap-{overlap}"
        generate(
            checkpoint=checkpoint,
            pre=pre,
            out=out,
            prompt=prompt,
            base=base,
            window=window,
            overlap=overlap,
            sampling=Sampling(steps=steps),
        )
        made = next(path for path in out.iterdir() if path.stem == pre.stem)
        # Adjacent, every window's edge is a border; blended, a border is where a window begins or ends.
        scale = cell * windows.factor
        found = seam(read_pixels(made), *borders(windows.grid(header, cell), scale), scale)
        print(f"| {overlap} | {found.ratio:.3f} | {found.z:+.1f} |")
    itself = seam(
        read_pixels(pre), *borders(windowing(trained.resolution, window, 0.5).grid(header, cell), scale), scale
    )
    print(f"| the pre image itself | {itself.ratio:.3f} | {itself.z:+.1f} |")


if __name__ == "__main__":
    auto_cli(scene_seams, as_positional=False)
