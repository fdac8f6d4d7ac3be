"""Telling the networks of any pipeline the metadata of a batch.

diffusers' pipelines know no metadata, but all of them call UNet and ControlNet with the rows of the batch once, or with
copies of them for guidance. So the numbers are added to those calls.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline, StableDiffusionInstructPix2PixPipeline
from torch import Tensor, nn

from models.diffusionsat.embedding import takes_metadata
from models.diffusionsat.metadata import METADATA_FIELDS, normalised_batch

# Of the image to make and of the one that is shown, or of the images of a sequence: METADATA_FIELDS in natural units,
# NaN = unknown.
Metadata = tuple[Sequence[float], Sequence[float] | Sequence[Sequence[float]]]
UNKNOWN: Metadata = ((math.nan,) * len(METADATA_FIELDS),) * 2  # nothing is


@contextmanager
def told(pipeline: DiffusionPipeline, metadata: Sequence[Metadata] | None) -> Iterator[None]:
    """Within the block, networks that take metadata are told them; under guidance the unconditional copies are not.

    Args:
        pipeline: whose UNet and ControlNet; those that take no metadata are left alone.
        metadata: one for each image of a batch; None = nothing is known of any.
    """
    columns = list(zip(*metadata, strict=True)) if metadata else [None, None]
    target, condition = (None if rows is None else normalised_batch(list(rows), len(rows)) for rows in columns)
    conditional_first = isinstance(pipeline, StableDiffusionInstructPix2PixPipeline)
    given = {"unet": {"metadata": target}, "controlnet": {"metadata": target, "cond_metadata": condition}}
    with ExitStack() as hooks:
        for name, rows in given.items():
            network = getattr(pipeline, name, None)
            if network is not None and takes_metadata(network):
                hook = network.register_forward_pre_hook(_teller(rows, conditional_first), with_kwargs=True)
                hooks.callback(hook.remove)
        yield


def _teller(rows: dict[str, Tensor | None], conditional_first: bool) -> Callable[..., Any]:
    def tell(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        sample = args[0] if args else kwargs["sample"]
        return args, kwargs | {name: _spread(values, sample, conditional_first) for name, values in rows.items()}

    return tell


def _spread(values: Tensor | None, sample: Tensor, conditional_first: bool) -> Tensor:
    """(B, 7[, T]) for the rows of a network's input: B, or B and its unconditional copies, before or behind it."""
    shape = (len(METADATA_FIELDS),) if values is None else values.shape[1:]
    rows = torch.full((len(sample), *shape), torch.nan, device=sample.device)
    if values is not None:
        rows[slice(len(values)) if conditional_first else slice(-len(values), None)] = values.to(sample.device)
    return rows
