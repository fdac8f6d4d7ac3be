"""Measure the images of an evaluation, patch by patch, from their files."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from data.examples.similarity import Pixels, score
from data.imagery.pixels import resize_rgb
from evaluation.damage.fidelity import damage_counts
from evaluation.metrics.judges import Judges
from evaluation.output import image_file
from evaluation.patches import Patch
from evaluation.results import OF_THE_DATASET, REAL, PatchResult, Values
from generate.images.items import batched
from generate.progress import progress
from models.cpu.threads import usable_cores

BATCH = 8  # images that a network judges at once


def measure(
    folder: Path,
    patches: Iterator[Patch],
    methods: Mapping[str, Sequence[str]],
    seeds: list[list[int]],
    judges: Judges,
) -> list[PatchResult]:
    """Score every image of every method and sample.

    Args:
        folder: of the evaluation; generated images are read from it.
        patches: to measure.
        methods: in the order of tables, each with the captions of all patches; those of OF_THE_DATASET have no files.
        seeds: of the samples of each patch.
        judges: the networks.
    """
    results: list[PatchResult] = []
    # Threads, because decoding and filters leave the interpreter to others.
    with progress(len(seeds), "measure", "patch") as bar, ThreadPoolExecutor(usable_cores()) as pool:
        for batch in _ahead(batched(patches, BATCH), pool):
            posts, captions = [patch.post for patch in batch], [patch.prompt for patch in batch]
            scores: list[dict[str, list[Values]]] = [{method: [] for method in (*methods, REAL)} for _ in batch]
            damage = damage_counts(judges.damage, batch, posts)
            first = next(iter(methods.values()))
            others = _shuffled(first, len(results), len(batch))
            for i, judged in enumerate(judges.see((REAL, 0), posts, posts, captions, others)):
                scores[i][REAL].append({"whole": {"pixels": float(posts[0][..., 0].size), **judged}} | damage[i])
            for method in methods:
                for sample in range(1 if method in OF_THE_DATASET else len(seeds[0])):
                    images = list(pool.map(partial(image_of, folder, method=method, sample=sample), batch))
                    asked = list(methods[method][len(results) : len(results) + len(batch)])
                    others = _shuffled(methods[method], len(results), len(batch))
                    opinions = judges.see((method, sample), images, posts, asked, others)
                    damage = damage_counts(judges.damage, batch, images)
                    for i, values in enumerate(pool.map(_values, images, batch, opinions)):
                        scores[i][method].append(values | damage[i])
            for patch, found in zip(batch, scores, strict=True):
                results.append(_result(patch, seeds[len(results)], found))
            bar.update(len(batch))
    return results


def _ahead(batches: Iterator[list[Patch]], pool: ThreadPoolExecutor) -> Iterator[list[Patch]]:
    """The batches; while one is measured, the next is decoded."""
    following = pool.submit(next, batches, None)
    while batch := following.result():
        following = pool.submit(next, batches, None)
        yield batch


def _shuffled(captions: Sequence[str], first: int, count: int) -> list[str]:
    """For patches from the `first`, the captions of patches half the list away: neighbours are often of one scene."""
    return [captions[(first + i + len(captions) // 2) % len(captions)] for i in range(count)]


def image_of(folder: Path, patch: Patch, method: str, sample: int = 0) -> Pixels:
    """A method's image of a patch, of its size: from the dataset, or from the folder of the evaluation."""
    if method == "copy":
        return patch.pre
    if method == "again":
        assert patch.post_again is not None
        return patch.post_again
    with Image.open(folder / image_file(patch.patch_id, method, sample), formats=("PNG",)) as image:
        return resize_rgb(image, len(patch.post))


def _values(image: Pixels, patch: Patch, judged: dict[str, float]) -> Values:
    values: Values = {region: dict(vars(one)) for region, one in score(image, patch.post, patch.regions).items()}
    values["whole"] |= judged
    return values


def _result(patch: Patch, seeds: list[int], scores: dict[str, list[Values]]) -> PatchResult:
    return PatchResult(
        patch_id=patch.patch_id,
        scene_id=patch.scene_id,
        event=patch.event,
        disaster_type=patch.disaster_type,
        position=patch.position,
        seeds=seeds,
        prompt=patch.prompt,
        scores=scores,
    )
