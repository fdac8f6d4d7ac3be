"""What restores an image without a network that was trained for it, beside one that was: docs/tasks.md.

python -m benchmarks.studies.fills --dataset DATASET
python -m benchmarks.studies.fills --dataset DATASET --coarse8 SCORES    also the images of `pre2post evaluate`

Back-projection (Irani and Peleg 1991): the generated image plus what is shown minus the same of the generated image.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from scipy import ndimage
from skimage.restoration import inpaint_biharmonic

from data.dataset.open import open_dataset
from data.examples.condition import CONDITIONS, HOLE_GREY, Condition
from data.examples.similarity import Pixels
from evaluation.estimate import weighted_mean
from evaluation.output import image_file
from evaluation.patches import Patch, patches_at
from generate.images.items import spread
from models import load_base
from models.images import LatentScale, as_pixels, decode, to_unit


def main() -> None:
    """Print the squared errors of every answer, with intervals over scenes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--limit", type=int, default=48)
    parser.add_argument("--coarse8", type=Path, help="folder of `pre2post evaluate` for a checkpoint of this task")
    given = parser.parse_args()
    rows, vae = open_dataset(given.dataset, "test"), load_base("tiny").load_vae()
    positions = spread(len(rows), given.limit)
    for name in ("coarse2", "coarse4", "coarse8", "hole"):
        condition = CONDITIONS[name]
        found: dict[str, list[tuple[float, int, str]]] = {}
        patches = patches_at(rows, positions, [""] * len(positions), resolution=given.resolution, condition=condition)
        for patch in patches:
            area = patch.regions["inside" if condition.with_hole else "whole"]
            known = dict(answers(patch, condition, vae))
            if name == "coarse8" and given.coarse8:
                with Image.open(given.coarse8 / image_file(patch.patch_id, "generated"), formats=["PNG"]) as image:
                    known |= generated(np.array(image), patch.pre, condition)
            for answer, pixels in known.items():
                error = ((pixels.astype(float) - patch.post) / 255)[area] ** 2
                found.setdefault(answer, []).append(
                    (error.mean() if area.any() else np.nan, area.sum(), patch.scene_id)
                )
        for answer, measured in found.items():
            print(f"{name:8} {answer:24} MSE {interval(measured)}")
            if answer.startswith("generated"):
                pairs = zip(measured, found["bicubic"], strict=True)
                less = [(error - other, pixels, scene) for (error, pixels, scene), (other, *_) in pairs]
                print(f"{name:8} {'  minus bicubic':24}     {interval(less)}")


def interval(measured: Sequence[tuple[float, int, str]]) -> str:
    """Mean of errors, weighted by pixels, and its interval over scenes."""
    values, weights, scenes = zip(*measured, strict=True)
    one = weighted_mean(np.array(values)[:, None], np.array(weights), scenes)
    return f"{one.value:.5f} ({one.low:.5f} to {one.high:.5f}), {one.clusters} scenes"


def generated(made: Pixels, shown: Pixels, condition: Condition) -> Mapping[str, Pixels]:
    """A network's image, as it is and so changed that it looks like what was shown at that resolution."""
    assert condition.coarse is not None
    projected = made + shown.astype(float) - condition.coarse(made)
    return {"generated": made, "generated, back-projected": projected.clip(0, 255).round().astype(np.uint8)}


def answers(patch: Patch, condition: Condition, vae: AutoencoderKL) -> Mapping[str, Pixels]:
    """Name -> image. `patch.pre` is the simplest answer; the autoencoder sees the truth itself."""
    truth = {"autoencoder of the truth": reconstructed(patch.post, vae)}
    if not condition.with_hole:
        return {"bicubic": patch.pre, **truth}
    hole = patch.regions["inside"]
    nearest = ndimage.distance_transform_edt(hole, return_distances=False, return_indices=True)
    biharmonic = inpaint_biharmonic(patch.pre, hole, channel_axis=-1) * 255
    return {
        "copying: the grey shown": np.where(hole[..., None], np.uint8(HOLE_GREY), patch.pre),
        "mean colour": patch.pre,
        "nearest pixel": patch.pre[tuple(nearest)],
        "biharmonic": biharmonic.clip(0, 255).round().astype(np.uint8),
        **truth,
    }


@torch.inference_mode()
def reconstructed(pixels: Pixels, vae: AutoencoderKL) -> Pixels:
    """What is left of an image after encoding and decoding."""
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    made: Pixels = as_pixels(
        to_unit(decode(vae, LatentScale.of(vae.config).scaled(vae.encode(images).latent_dist.mean)))
    )[0]
    return made


if __name__ == "__main__":
    main()
