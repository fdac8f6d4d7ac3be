"""Measures what the images of a prompt study show, one by one from their files."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from data.captions.layout import COMPASS
from evaluation.output import image_file
from evaluation.prompts.buildings import Gauge
from evaluation.prompts.change import Detector, Floats, Pixels, difference
from evaluation.prompts.grid import NINE, Prompt

# Where the cell of each of the nine words lies in a 3 x 3 grid: row from the north, column from the west.
CELLS = dict(zip(NINE, ((1, 2), (0, 2), (0, 1), (0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 1)), strict=True))
# (east, north) of each compass word, of length 1.
DIRECTIONS = {word: (np.cos(i * np.pi / 4), np.sin(i * np.pi / 4)) for i, word in enumerate(COMPASS)}


@dataclass(frozen=True)
class Answer:
    """One image. Differences are from the image of the word `none`, made from the same noise."""

    method: str
    position: int  # of the patch in the split
    word: str
    sample: int
    changed: float  # share of the patch that differs from the pre image, 0..1
    beyond: float  # share that differs from `none`, 0..1
    east: float  # middle of the difference, shares of the side from the middle of the patch; NaN if nothing differs
    north: float
    cells: list[float]  # mean difference in the cells of NINE, 0..1
    buildings: float  # as the gauge counts them


def measure_answers(
    folder: Path,
    prompts: Iterable[Prompt],
    pre_of: Callable[[int], Pixels],
    methods: Iterable[str],
    samples: int,
    detector: Detector,
    gauge: Gauge,
) -> Iterator[Answer]:
    """Every image of every method.

    Args:
        folder: of the study; images are read from it.
        prompts: those of a patch together, `none` first.
        pre_of: the pre image at a position of the split.
        methods: rows; `copy` has no files.
        samples: images of each prompt.
        detector: of change.
        gauge: of the number of buildings.
    """
    methods = list(methods)
    for position, asked in groupby(prompts, key=lambda prompt: prompt.position):
        pre, of_patch = pre_of(position), list(asked)
        for method in methods:
            for sample in range(samples):
                none = _image(folder, of_patch[0], method, sample, pre)
                for prompt in of_patch:
                    image = _image(folder, prompt, method, sample, pre)
                    yield _answer(method, prompt, sample, image, pre, none, detector, gauge)


def centroid(weights: Floats) -> tuple[float, float]:
    """(east, north) of the middle of the weights, shares of the side from the middle; NaN without any weight."""
    total = float(weights.sum())
    if not total:
        return float("nan"), float("nan")
    places = (np.arange(len(weights)) + 0.5) / len(weights) - 0.5
    return float(weights.sum(axis=0) @ places / total), float(-weights.sum(axis=1) @ places / total)


def turned_away(word: str, east: float, north: float) -> float:
    """Angle between a compass word and a direction, degrees, 0..180; 90 where there is no direction."""
    length = math.hypot(east, north)
    if not length > 0:
        return 90.0
    cosine = float(np.dot((east, north), DIRECTIONS[word])) / length
    return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def cell_means(values: Floats) -> list[float]:
    """Mean of each cell of a 3 x 3 grid, in the order of NINE."""
    thirds = [np.array_split(row, 3, axis=1) for row in np.array_split(values, 3, axis=0)]
    return [float(thirds[row][column].mean()) for row, column in CELLS.values()]


def _image(folder: Path, prompt: Prompt, method: str, sample: int, pre: Pixels) -> Pixels:
    if method == "copy":
        return pre
    with Image.open(folder / image_file(prompt.name, method, sample), formats=("PNG",)) as image:
        return np.asarray(image)


def _answer(
    method: str, prompt: Prompt, sample: int, image: Pixels, pre: Pixels, none: Pixels, detector: Detector, gauge: Gauge
) -> Answer:
    apart = difference(none, image)
    east, north = centroid(apart**2)  # squared: a weak difference everywhere says little about where
    return Answer(
        method=method,
        position=prompt.position,
        word=prompt.word,
        sample=sample,
        changed=float(detector.changed(pre, image).mean()),
        beyond=float((apart >= detector.threshold).mean()),
        east=east,
        north=north,
        cells=cell_means(apart),
        buildings=gauge.count(image),
    )
