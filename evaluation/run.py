"""Measure a trained ControlNet on a split of a built dataset.

On a laptop: `pre2post evaluate --checkpoint runs/first --dataset d256 --limit 8 --out scores`
"""

from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.dataset import fingerprint, open_dataset
from data.destination import whole_folder
from data.similarity import Pixels, score
from evaluation.errors import EvaluationError
from evaluation.output import IMAGES, REPORT, check_out, image_file
from evaluation.patches import Patch, patches_at
from evaluation.report import write_report
from evaluation.results import Evaluation, PatchResult, write_results
from evaluation.table import render
from generate.items import batched, spread
from generate.output import write_png
from generate.pipeline import (
    Checkpoint,
    Pipeline,
    check_steps,
    generate_images,
    load_generator,
    open_checkpoint,
    show_step,
)

CONTROL_SCALES = {"generated": 1.0, "base": 0.0}  # zero residuals leave the base's prediction as it is


def evaluate(
    *,
    checkpoint: Path,
    dataset: Path,
    out: Path,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    steps: int = 50,
    guidance_scale: float = 1.0,
    batch_size: int = 8,
    base: str | None = None,
    overwrite: bool = False,
) -> None:
    """Measure generated post images against the real ones, inside and outside the changed area.

    Compares three answers to "what will this place look like?": the generated image, the pre image copied as it is,
    and what the base makes of the caption and the same start noise without the ControlNet. Writes `report.html` (tables
    and pictures), `results.json` (every number, per patch too) and `images/`, and prints the tables. Takes the captions
    of the style the checkpoint was trained with.

    Args:
        checkpoint: A run folder (its newest intact checkpoint is meant) or one of its checkpoints/step-*.
        dataset: A folder made by `pre2post build`.
        out: The folder to write. It appears only when it is whole.
        split: Which split to measure on.
        limit: Measure only so many patches, evenly spread over the split.
        seed: The start noise of a patch comes from `seed` + its position in the split, as in `pre2post generate`.
        steps: Denoising steps of the DDIM sampler.
        guidance_scale: Classifier-free guidance; 1 adds nothing and is how the published xBD models are measured.
        batch_size: Images generated at once; changes speed and memory only.
        base: Where the base lies now: a diffusers folder, hub id, or `tiny`; by default where the training found it.
        overwrite: Replace an earlier evaluation in `out`.
    """
    check_out(out, overwrite)
    trained = open_checkpoint(checkpoint)
    if trained.direction == "past":
        raise EvaluationError(
            f"{trained.folder}: trained with data.direction past, it makes pre images; the measures here compare post "
            "images. Look at what it makes with pre2post generate."
        )
    rows = open_dataset(dataset, split)
    positions = spread(len(rows), limit)
    if not positions:
        raise EvaluationError(f"{dataset}: split {split} is empty. Name another with --split.")
    load = partial(patches_at, rows, trained=trained, seed=seed)
    batches = batched(load(positions), batch_size)
    pipeline = load_generator(trained, base)
    check_steps(pipeline, steps)
    sampling = {"steps": steps, "guidance_scale": guidance_scale}
    settings = _provenance(trained, base, dataset, split) | {"split_patches": len(rows), "seed": seed} | sampling
    with whole_folder(out) as folder, tqdm(total=len(positions), desc="evaluate", unit="patch") as bar:
        (folder / IMAGES).mkdir()
        results: list[PatchResult] = []
        for batch in batches:
            results += _measure(pipeline, batch, sampling, folder, bar)
            bar.update(len(batch))
        evaluation = Evaluation(settings, results)
        write_results(folder, evaluation)
        write_report(folder, evaluation, load)
    print(render(evaluation))
    print(f"Look at {out / REPORT}")


def _measure(
    pipeline: Pipeline,
    patches: list[Patch],
    sampling: dict[str, Any],
    folder: Path,
    bar: "tqdm[Any]",
) -> list[PatchResult]:
    """Generate a batch with and without control, write the images, measure all three methods."""
    images: dict[str, list[Pixels]] = {"copy": [patch.pre for patch in patches]}
    for method, control_scale in CONTROL_SCALES.items():
        made = generate_images(
            pipeline,
            [patch.shown for patch in patches],
            [patch.prompt for patch in patches],
            [patch.seed for patch in patches],
            **sampling,
            control_scale=control_scale,
            on_step=partial(show_step, bar, sampling["steps"], f"{method}: "),
        )
        images[method] = list(made)
        for patch, image in zip(patches, made, strict=True):
            write_png(folder / image_file(patch.patch_id, method), image)
    return [_result(patch, {name: made[i] for name, made in images.items()}) for i, patch in enumerate(patches)]


def _result(patch: Patch, images: dict[str, Pixels]) -> PatchResult:
    return PatchResult(
        patch_id=patch.patch_id,
        disaster_type=patch.disaster_type,
        position=patch.position,
        seed=patch.seed,
        prompt=patch.prompt,
        scores={method: score(image, patch.post, patch.regions) for method, image in images.items()},
    )


def _provenance(trained: Checkpoint, base: str | None, dataset: Path, split: str) -> dict[str, Any]:
    return {
        "checkpoint": str(trained.folder),
        "step": trained.step,
        "weights": "ema" if trained.weights.name == "ema" else trained.trained,
        "base": base or trained.base,
        "resolution": trained.resolution,
        "caption_style": trained.caption_style,
        "dataset": str(dataset),
        "dataset_fingerprint": fingerprint(dataset),
        "split": split,
    }
