"""The table of conditions: one name in config, checkpoint and table; as many channels as are said."""

from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from data.examples.condition import CONDITIONS, Condition, condition_of
from models.checkpoint import State
from train.config import ModelConfig


def test_the_table_is_what_configs_and_checkpoints_may_name() -> None:
    assert [*CONDITIONS] == [*get_args(get_type_hints(ModelConfig)["condition"])]
    assert [*CONDITIONS] == [*get_args(get_type_hints(State)["condition"])]


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_so_many_channels_are_shown(condition: Condition) -> None:
    """The colours come first, whatever is behind them; restoring, not all of them."""
    image = Image.fromarray(np.random.default_rng(0).integers(256, size=(6, 6, 3), dtype=np.uint8))
    mask = Image.fromarray(np.full((6, 6), 3, np.uint8))
    shown = condition.shown(image, mask, 6)
    if condition.restores:
        assert shown.shape == (6, 6, condition.channels) and shown.dtype == np.uint8
        assert not np.array_equal(shown[..., :3], np.array(image))
        return
    assert shown.shape == (6, 6, condition.channels) and shown.dtype == np.uint8
    if not condition.pixels:  # of the five classes of a mask, 3 everywhere
        assert np.array_equal(shown, np.broadcast_to(np.array([0, 0, 0, 255, 0]), (6, 6, 5)))
        return
    assert np.array_equal(shown[..., :3], np.array(image))
    assert condition.shown(image, None, 6).shape == (6, 6, 3)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_coarse_image_has_the_mean_of_every_block(factor: int) -> None:
    """By numpy; enlarged by Pillow. A constant stays what it is, and so does its size where a block exceeds it."""
    side = 16 // factor
    means = np.random.default_rng(1).integers(1, 255, size=(side, side, 3), dtype=np.uint8)
    detail = np.resize([-1, 1], (factor, factor))  # has no mean
    pixels = np.kron(means, np.ones((factor, factor, 1))) + np.tile(detail, (side, side))[..., None]
    expected = Image.fromarray(pixels.reshape(side, factor, side, factor, 3).mean((1, 3)).round().astype(np.uint8))
    shown = CONDITIONS[f"coarse{factor}"].put(pixels.astype(np.uint8), None)
    assert np.array_equal(shown, np.array(expected.resize((16, 16), Image.Resampling.BICUBIC)))
    grey = np.full((5, 7, 3), 90, np.uint8)
    assert np.array_equal(CONDITIONS[f"coarse{factor}"].put(grey, None), grey)


def test_nothing_of_a_hole_is_shown() -> None:
    pixels = np.random.default_rng(2).integers(256, size=(4, 4, 3), dtype=np.uint8)
    hole = np.zeros((4, 4), np.uint8)
    hole[1:3, 2:] = 1, 255
    shown, other = (
        CONDITIONS["hole"].put(one, hole) for one in (pixels, np.where(hole[..., None], 255 - pixels, pixels))
    )
    assert np.array_equal(shown, other) and np.array_equal(shown[..., 3], 255 * (hole > 0))
    assert np.array_equal(shown[hole == 0][:, :3], pixels[hole == 0]) and (shown[hole > 0][:, :3] == 128).all()


def test_only_a_controlnet_has_a_choice() -> None:
    assert condition_of("controlnet+lora", "pixels+mask") is CONDITIONS["pixels+mask"]
    assert condition_of("lora", "pixels+mask") is CONDITIONS["pixels"]
    assert condition_of("lora+concat", "pixels") is CONDITIONS["latents"]
