"""Accuracy of shift estimates on known shifts, and rate of false detections: docs/pair-quality.md.

On a laptop, about two minutes:  python -m benchmarks.studies.shift_accuracy --scenes 12
"""

import argparse
import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.quality.image import nodata_mask
from data.quality.registration import CONFIDENT, Edges, Shift, cross_spectrum, grey, shift_of, step_of, window_edges
from data.simulation import capture
from data.simulation.simulate import render_scene
from data.sources.labels import Phase
from data.sources.release import Release, find_release
from data.sources.scene_images import read_scene

LARGEST_PX = 12.0  # shifts are uniform in +- this, along each axis
SIZES_PX = (1024, 512, 256)
ACCURACY_PX = 0.3
PHASES: tuple[Phase, Phase] = ("pre", "post")
CONFIDENCES = (0.0, CONFIDENT, 0.7, 0.8, 0.9, 1.01)  # the tiers of the table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=12, help="six in a row contain all disaster types")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--release", type=Path, help="only pair pre with other scenes' post images of this release")
    options = parser.parse_args()
    if options.release:
        show_unrelated(mismatched(find_release(options.release)))
        return
    capture.SHIFTED_SHARE = 0.0  # otherwise a fifth of them is already shifted
    pushed: dict[str, list[tuple[Shift, float]]] = defaultdict(list)
    unrelated: dict[str, list[float]] = defaultdict(list)
    previous: NDArray[np.uint8] | None = None
    for index in range(options.scenes):
        images = render_scene(options.seed, index).images
        rng = np.random.default_rng((options.seed, index))
        down, right = (round(value, 2) for value in rng.uniform(-LARGEST_PX, LARGEST_PX, 2))
        pre, post = images["pre"], push(images["post"], down, right)
        for size in SIZES_PX:
            one, other = study(pre, size), study(post, size)
            for what, found in shifts(one, other, size).items():
                pushed[what] += [(shift, math.hypot(shift.dy + down, shift.dx + right)) for shift in found]
            if previous is not None:
                add_confidences(unrelated, shifts(study(previous, size), other, size))
        previous = pre
    show_pushed(pushed)
    show_unrelated(unrelated)


def mismatched(release: Release) -> dict[str, list[float]]:
    """Confidence between each scene's pre and every other scene's post image; all have the same size."""
    images = [read_scene(scene, (1, 2, 3)).images for scene in release.scenes]
    found: dict[str, list[float]] = defaultdict(list)
    for size in (512, 256):
        pres, posts = ([study(pair[phase], size) for pair in images] for phase in PHASES)
        for i, pre in enumerate(pres):
            for j, post in enumerate(posts):
                if i != j:
                    add_confidences(found, shifts(pre, post, size))
    return found


def shifts(pre: Edges, post: Edges, size: int) -> dict[str, list[Shift]]:
    """Shifts of all windows of a pair, and of the scene from all of them together."""
    step = step_of(size)
    spectra = [cross_spectrum(pre[place], post[place], step) for place in windows(size // step, len(pre))]
    found = {f"{size}": [shift_of(spectrum, step) for spectrum in spectra]}
    if len(spectra) > 1:
        found[f"scene by {size}"] = [shift_of(np.sum(spectra, axis=0), step)]
    return found


def add_confidences(to: dict[str, list[float]], found: dict[str, list[Shift]]) -> None:
    """Add confidences by window."""
    for what, each in found.items():
        to[what] += [shift.confidence for shift in each]


def study(image: NDArray[np.uint8], size: int) -> Edges:
    """Edges as the builder computes them in windows of this size."""
    return window_edges(grey(image), nodata_mask(image), step_of(size))


def push(image: NDArray[np.uint8], down: float, right: float) -> NDArray[np.uint8]:
    """Shift an image by the Fourier shift theorem: no interpolation that could bias the estimate."""
    rows, cols = (np.fft.fftfreq(side) for side in image.shape[:2])
    phase = np.exp(-2j * np.pi * (down * rows[:, None] + right * cols))[..., None]
    moved = np.fft.ifft2(np.fft.fft2(image, axes=(0, 1)) * phase, axes=(0, 1)).real
    return np.clip(np.round(moved), 0, 255).astype(np.uint8)


def windows(size: int, side: int) -> Iterator[tuple[slice, slice]]:
    """The grid of patches of a simulated scene."""
    for row in range(0, side, size):
        for col in range(0, side, size):
            yield slice(row, row + size), slice(col, col + size)


def show_pushed(pushed: dict[str, list[tuple[Shift, float]]]) -> None:
    """Errors by confidence, as a table in Markdown."""
    print(f"| window, px | confidence | windows | within {ACCURACY_PX} px | median error, px | largest, px |")
    print("|---:|---:|---:|---:|---:|---:|")
    for what, found in pushed.items():
        for low, high in pairwise(CONFIDENCES):
            errors = np.array([error for shift, error in found if low <= shift.confidence < high])
            if not errors.size:
                continue
            good = f"{np.mean(errors < ACCURACY_PX):.1%} | {np.median(errors):.2f} | {errors.max():.2f}"
            share = f"{len(errors)} of {len(found)}"
            print(f"| {what} | {low:g} to {min(high, 1):g} | {share} | {good if low >= CONFIDENT else '- | - | -'} |")


def show_unrelated(unrelated: dict[str, list[float]]) -> None:
    """Rate of false confidence."""
    print("\n| window, px | unrelated pairs | confident | largest confidence |\n|---:|---:|---:|---:|")
    for what, confidences in unrelated.items():
        wrong = np.count_nonzero(np.array(confidences) >= CONFIDENT)
        print(f"| {what} | {len(confidences)} | {wrong} | {max(confidences):.2f} |")


if __name__ == "__main__":
    main()
