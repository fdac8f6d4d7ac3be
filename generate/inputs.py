"""The inputs of a batch of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.examples.place import Place
from data.schema import METADATA_FIELDS

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB; with a damage mask 5 more channels, see data/examples/condition.py
Mask = NDArray[np.bool_]  # (height, width)
# Of the target and of the input image, or of the images of a sequence: METADATA_FIELDS in natural units,
# NaN = unknown.
Metadata: TypeAlias = tuple[Sequence[float], Sequence[float] | Sequence[Sequence[float]]]
UNKNOWN: Metadata = ((math.nan,) * len(METADATA_FIELDS),) * 2


@dataclass(frozen=True)
class Inputs:
    """Lists of one length."""

    pre: Sequence[Pixels]
    prompts: Sequence[str]
    seeds: Sequence[int]
    buildings: Sequence[Mask | None]  # where they are; None = unknown
    source_prompts: Sequence[str | None]  # captions of the pre images; None = unknown
    metadata: Sequence[Metadata] | None = None  # for networks conditioned on them; None = unknown
    places: Sequence[Place] | None = None  # where the images lie in their scenes; None = each is a scene of its own
