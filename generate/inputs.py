"""What a batch of images is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from generate.metadata import Metadata
from generate.pipeline import Pipeline, Pixels
from generate.sampling import Sampling

Mask = NDArray[np.bool_]  # (height, width)


@dataclass(frozen=True)
class Inputs:
    """Lists of one length."""

    pre: Sequence[Pixels]
    prompts: Sequence[str]
    seeds: Sequence[int]
    buildings: Sequence[Mask | None]  # where they stand; None = not known
    source_prompts: Sequence[str | None]  # what the pre images show; None = not known
    metadata: Sequence[Metadata] | None = None  # for networks that take them; None = unknown


# How any method is called: the last argument is told the number of finished steps after each.
Method = Callable[[Pipeline, Inputs, Sampling, Callable[[int], None]], Pixels]
