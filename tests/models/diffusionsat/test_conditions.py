"""Conditioning images of every form as one tensor; what does not fit is named."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.diffusionsat.conditions import ConditionError, condition_tensor

RED, BLUE = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))


def test_one_image_is_zero_to_one() -> None:
    tensor = condition_tensor(RED, channels=3, size=(6, 2), sequence=False)
    assert tensor.shape == (1, 3, 2, 6)
    assert tensor[0, :, 0, 0].tolist() == [1, 0, 0]


def test_resized_by_lanczos() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(pixels)
    expected = np.asarray(image.resize((4, 4), Image.Resampling.LANCZOS)) / np.float32(255)
    found = condition_tensor(image, channels=3, size=(4, 4), sequence=False)[0].permute(1, 2, 0)
    assert np.array_equal(found.numpy(), expected)


def test_several_images_of_a_prompt() -> None:
    """On the channels for a 2D network, behind each other for a 3D one."""
    flat = condition_tensor([[RED, BLUE]], channels=6, size=(4, 4), sequence=False)
    assert flat[0, :, 0, 0].tolist() == [1, 0, 0, 0, 0, 1]
    deep = condition_tensor([[RED, BLUE], [BLUE, BLUE]], channels=3, size=(4, 4), sequence=True)
    assert deep.shape == (2, 3, 2, 4, 4)
    assert deep[0, :, :, 0, 0].T.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_tensors_are_taken_as_they_are() -> None:
    tensor = torch.rand(2, 10, 4, 4)
    assert torch.equal(condition_tensor(tensor, channels=10, size=(4, 4), sequence=False), tensor)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(1, 3, 8, 8), r"shape \(1, 3, 8, 8\). Expected \(N, 3, 4, 4\)"),
        (torch.rand(1, 3, 2, 4, 4), r"shape \(1, 3, 2, 4, 4\)"),
        ([[RED, BLUE]], r"shape \(1, 6, 4, 4\)"),
        (torch.rand(1, 3, 4, 4) * 255, r"range from .* Expected \[0, 1\]"),
        (torch.rand(1, 3, 4, 4) * 2 - 1, r"nor -1..1"),
        ([[RED, BLUE], [RED]], "unequal numbers"),
    ],
)
def test_what_does_not_fit(images: Any, message: str) -> None:
    with pytest.raises(ConditionError, match=message):
        condition_tensor(images, channels=3, size=(4, 4), sequence=False)
