"""What networks are told when any pipeline calls them: each copy of a batch the right rows, and nothing for good."""

from typing import Any

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from torch import Tensor, nn

from generate.metadata import UNKNOWN, Metadata, told

ONE: Metadata = ([-180.0, -90.0, 0.5, 0.25, 1980.0, 6.0, 31.0], [0.0, 0.0, 2.0, 1.0, 2040.0, 12.0, 31.0])
# By hand: (lon + 180) / 360, (lat + 90) / 180, gsd, cloud, (year - 1980) / 120, month / 12, day / 31, times 1000.
TARGET = [0.0, 0.0, 500.0, 250.0, 0.0, 500.0, 1000.0]
CONDITION = [500.0, 500.0, 2000.0, 1000.0, 500.0, 1000.0, 1000.0]
NOTHING = [None] * 7


class Network(nn.Module):
    """Says what it was called with."""

    def __init__(self, takes: bool) -> None:
        super().__init__()
        self.metadata_embedding = nn.Identity() if takes else None

    def forward(self, sample: Tensor, **told: Tensor) -> dict[str, list[list[float | None]]]:
        assert all(rows.dtype == torch.float32 for rows in told.values())
        return {name: [[None if x != x else x for x in row] for row in rows.tolist()] for name, rows in told.items()}


def pipeline_of(kind: type, **networks: Network) -> Any:
    pipeline: Any = object.__new__(kind)
    for name, network in networks.items():
        object.__setattr__(pipeline, name, network)
    return pipeline


@pytest.mark.parametrize(
    ("kind", "copies", "expected"),
    [
        (StableDiffusionPipeline, 1, [TARGET, NOTHING]),
        (StableDiffusionPipeline, 2, [NOTHING, NOTHING, TARGET, NOTHING]),  # the unconditional half comes first
        (StableDiffusionInstructPix2PixPipeline, 3, [TARGET, NOTHING, *[NOTHING] * 4]),  # here the conditional part
    ],
)
def test_under_guidance_only_the_conditional_copies_are_told(kind: type, copies: int, expected: Any) -> None:
    unet, controlnet = Network(takes=True), Network(takes=True)
    pipeline = pipeline_of(kind, unet=unet, controlnet=controlnet)
    sample = torch.zeros(2 * copies, 4, 4, 4)
    with told(pipeline, [ONE, UNKNOWN]):
        assert unet(sample) == {"metadata": expected}
        beside = controlnet(sample=sample)
    assert beside["metadata"] == expected
    assert beside["cond_metadata"] == [CONDITION if row is TARGET else NOTHING for row in expected]
    assert unet(sample) == controlnet(sample) == {}  # nothing stays


def test_without_metadata_everything_is_unknown_for_any_number_of_rows() -> None:
    unet, controlnet = Network(takes=True), Network(takes=True)
    pipeline = pipeline_of(StableDiffusionPipeline, unet=unet, controlnet=controlnet)
    with told(pipeline, None):
        assert unet(torch.zeros(3, 4, 4, 4)) == {"metadata": [NOTHING] * 3}
        assert controlnet(torch.zeros(1, 4, 4, 4)) == {"metadata": [NOTHING], "cond_metadata": [NOTHING]}


def test_networks_that_take_none_are_left_alone() -> None:
    unet = Network(takes=False)
    with told(pipeline_of(StableDiffusionPipeline, unet=unet), [ONE]):
        assert unet(torch.zeros(1, 4, 4, 4)) == {}
