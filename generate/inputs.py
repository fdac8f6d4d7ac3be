"""What a batch of images is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from data.schema import METADATA_FIELDS

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB; with a damage mask 5 more channels, see data/examples/condition.py
Mask = NDArray[np.bool_]  # (height, width)
# Of the image to make and of the one that is shown, or of the images of a sequence: METADATA_FIELDS in natural units,
# NaN = unknown.
Metadata: TypeAlias = tuple[Sequence[float], Sequence[float] | Sequence[Sequence[float]]]
UNKNOWN: Metadata = ((math.nan,) * len(METADATA_FIELDS),) * 2


@dataclass(frozen=True)
class Inputs:
    """Lists of one length."""

    pre: Sequence[Pixels]
    prompts: Sequence[str]
    seeds: Sequence[int]
    buildings: Sequence[Mask | None]  # where they stand; None = not known
    source_prompts: Sequence[str | None]  # what the pre images show; None = not known
    metadata: Sequence[Metadata] | None = None  # for networks that take them; None = unknown
