"""What networks are given under guidance: the conditional rows their own metadata, the unconditional ones nothing."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.examples.condition import CONDITIONS
from generate.generator import Generator, generate_images
from generate.inputs import UNKNOWN, Metadata
from generate.sampling import Sampling
from models import load_base

ONE: Metadata = ([-180.0, -90.0, 0.5, 0.25, 1980.0, 6.0, 31.0], [0.0, 0.0, 2.0, 1.0, 2040.0, 12.0, 31.0])
# By hand: (lon + 180) / 360, (lat + 90) / 180, gsd, cloud, (year - 1980) / 120, month / 12, day / 31, times 1000.
TARGET = [0.0, 0.0, 500.0, 250.0, 0.0, 500.0, 1000.0]
CONDITION = [500.0, 500.0, 2000.0, 1000.0, 500.0, 1000.0, 1000.0]
NOTHING = [None] * 7


class Network(nn.Module):
    """Keeps what it is called with."""

    controlnet = None

    unet = SimpleNamespace(device=torch.device("cpu"))

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def prepared(self, condition: Tensor) -> Tensor:
        return condition

    def forward(self, noisy: Tensor, _: Tensor, states: Tensor, pre: Tensor, *, scale: float, **told: Tensor) -> Tensor:
        assert len(noisy) == len(states) == len(pre)
        rows = [told[name].tolist() if name in told else None for name in ("metadata", "cond_metadata")]
        self.seen.append([values and [[None if x != x else x for x in row] for row in values] for values in rows])
        return noisy


@pytest.mark.parametrize(
    ("guidance_scale", "expected"),
    [(1.0, [TARGET, NOTHING]), (3.0, [NOTHING, NOTHING, TARGET, NOTHING])],  # the unconditional half comes first
)
def test_only_the_conditional_rows_know_anything(guidance_scale: float, expected: Any) -> None:
    base, network = load_base("tiny"), Network()
    denoiser: Any = network
    generator = Generator(
        base,
        denoiser,
        base.load_vae(),
        base.load_text_encoder(),
        base.load_tokenizer(),
        base.load_sampler(),
        1,
        CONDITIONS["pixels"],
    )
    pre, sampling = [np.zeros((16, 16, 3), np.uint8)] * 2, Sampling(steps=1, guidance_scale=guidance_scale)
    generate_images(generator, pre, ["a", "b"], [0, 1], sampling, metadata=[ONE, UNKNOWN])
    generate_images(generator, pre, ["a", "b"], [0, 1], sampling)
    target, condition = network.seen[0]
    assert target == expected
    assert condition == [CONDITION if row is TARGET else NOTHING for row in expected]
    assert network.seen[1] == [None, None]
