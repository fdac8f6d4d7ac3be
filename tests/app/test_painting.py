"""Strokes become classes, and classes strokes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ImageColor

from app.errors import AppError
from app.painting import COLOURS, NAMES, layer_of, mask_of
from data.schema import DAMAGE_VALUES

CLASSES = st.sampled_from([0, 1, 2, 3, 4])


@given(arrays(np.uint8, (5, 7), elements=CLASSES))
def test_a_mask_survives_the_page(mask: np.ndarray) -> None:
    assert np.array_equal(mask_of([layer_of(mask)], 7, 5), mask)


def test_each_colour_is_its_class() -> None:
    """Light errors of a browser's canvas do not matter; what is nearly transparent is no stroke."""
    for name, colour in zip(NAMES, COLOURS, strict=True):
        layer = np.array([[[*ImageColor.getrgb(colour), 255], [*ImageColor.getrgb(colour), 127]]], np.uint8)
        layer[..., :3] = np.clip(layer[..., :3].astype(int) + np.array([4, -3, 2]), 0, 255)
        assert mask_of([layer], 2, 1).tolist() == [[DAMAGE_VALUES[name], 0]]


def test_a_painting_is_stretched_to_the_image_and_later_layers_cover() -> None:
    below, above = (layer_of(np.array(classes, np.uint8)) for classes in ([[1, 1]], [[0, 4]]))
    assert mask_of([below, above], 4, 2).tolist() == [[1, 1, 4, 4], [1, 1, 4, 4]]
    assert mask_of([], 3, 1).tolist() == [[0, 0, 0]]


def test_unknown_damage_is_not_painted() -> None:
    assert layer_of(np.array([[255, 0, 2]], np.uint8))[..., 3].tolist() == [[0, 0, 255]]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (1, 5000, 4)])
def test_what_no_page_paints_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AppError, match="paint anew"):
        mask_of([np.zeros(shape, np.uint8)], 4, 4)
