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
    """The colours come first, whatever is behind them."""
    image = Image.fromarray(np.random.default_rng(0).integers(256, size=(6, 6, 3), dtype=np.uint8))
    mask = Image.fromarray(np.full((6, 6), 3, np.uint8))
    shown = condition.shown(image, mask, 6)
    assert shown.shape == (6, 6, condition.channels) and shown.dtype == np.uint8
    assert np.array_equal(shown[..., :3], np.array(image))
    assert condition.shown(image, None, 6).shape == (6, 6, 3)


def test_only_a_controlnet_has_a_choice() -> None:
    assert condition_of("controlnet+lora", "pixels+mask") is CONDITIONS["pixels+mask"]
    assert condition_of("lora", "pixels+mask") is CONDITIONS["pixels"]
    assert condition_of("lora+concat", "pixels") is CONDITIONS["latents"]
