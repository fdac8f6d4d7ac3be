"""What it does to the error of copying that cloud and smoke are no change: both ways on the demo's held-out scenes.

    python -m benchmarks.studies.unforeseeable

Renders the scenes that `make demo` tests on, in patches of 256 px shown at 128 px, and measures the pre image against
the post image inside and outside the change: once with all cover counted as change, as in datasets without a
`cover_mask`, and once without the cover. Intervals are over scenes.
"""

import argparse
from typing import Any

import numpy as np
from PIL import Image

from data.examples.regions import regions_of
from data.examples.similarity import score
from data.imagery.pixels import resize_rgb
from data.progress import Bar
from data.simulation.release import Scene
from data.simulation.simulate import held_out, render_scene
from evaluation.estimate import weighted_mean

PATCH_PX, SHOWN_PX = 256, 128
WAYS = {"cover counts as change": False, "cover left out": True}


def main() -> None:
    """Render, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=60, help="simulated, of which those held out are measured")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measured: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    clusters, covered = [], []
    for index in Bar([index for index in range(options.scenes) if held_out(index)], unit="scene"):
        scene = render_scene(options.seed, index)
        covered.append((scene.cover > 0).mean())
        for row in patches(scene):
            clusters.append(scene.stem)
            pre, post = (resize_rgb(row[phase], SHOWN_PX) for phase in ("pre", "post"))
            for way, fair in WAYS.items():
                measured[way].append(score(pre, post, regions_of(row if fair else as_change(row), SHOWN_PX)))
    print(f"\n{len(clusters)} patches of {len(covered)} scenes, {np.mean(covered):.1%} of them covered\n")
    print("| copying | MSE inside (patches) | MSE outside (patches) | PSNR inside, dB | PSNR outside, dB |")
    print("|---|---|---|---|---|")
    for way, scores in measured.items():
        cells = [cell(scores, clusters, *what) for what in (("inside", "mse"), ("outside", "mse"))]
        cells += [cell(scores, clusters, *what) for what in (("inside", "psnr"), ("outside", "psnr"))]
        print(f"| {way} | {' | '.join(cells)} |")


def patches(scene: Scene) -> list[dict[str, Any]]:
    """What regions and images are made of, as in the rows of a dataset."""
    whole = scene.images | {"change_mask": scene.change, "cover_mask": scene.cover}
    starts = range(0, len(scene.change), PATCH_PX)
    cut = [np.s_[y : y + PATCH_PX, x : x + PATCH_PX] for y in starts for x in starts]
    return [{name: Image.fromarray(pixels[part]) for name, pixels in whole.items()} for part in cut]


def as_change(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a dataset in which all cover is change."""
    change = np.maximum(np.asarray(row["change_mask"]), np.asarray(row["cover_mask"]))
    return row | {"change_mask": Image.fromarray(change), "cover_mask": None}


def cell(scores: list[dict[str, Any]], clusters: list[str], region: str, metric: str) -> str:
    """A mean with its interval; squared errors are pooled over pixels, as in `pre2post evaluate`."""
    values = np.array([[getattr(one[region], metric)] for one in scores])
    pixels = np.array([one[region].pixels for one in scores])
    found = weighted_mean(values, pixels if metric == "mse" else (pixels > 0).astype(int), clusters)
    digits = 5 if metric == "mse" else 2
    count = f" ({found.patches})" if metric == "mse" else ""
    return f"{found.value:.{digits}f}{count}, {found.low:.{digits}f} to {found.high:.{digits}f}"


if __name__ == "__main__":
    main()
