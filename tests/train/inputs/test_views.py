"""Which views there are, and how often each caption is drawn."""

from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from data.examples.condition import CONDITIONS, undamaged
from train.errors import ConfigError
from train.inputs.views import View, captions_of_views, views_of


def dataset(*captions: tuple[str, str, str]) -> Dataset:
    entries: list[dict[str, Any]] = [
        {"style": style, "target": target, "text": text} for style, target, text in captions
    ]
    return Dataset.from_list([{"patch_id": "p", "captions": entries}])


def test_both_directions_double_the_views() -> None:
    future = views_of(3, mirror=True, direction="future")
    both = views_of(3, mirror=True, direction="both")
    assert len(future) == 6 and len(set(both)) == 12
    assert both[:6] == future  # so that the cache of a run into the future is used again
    assert [(view.source, view.target) for view in views_of(1, mirror=False, direction="both")] == [
        ("pre", "post"),
        ("post", "pre"),
    ]


def test_captions_describe_what_the_view_makes() -> None:
    rows = dataset(("short", "post", "after"), ("short", "pre", "before"))
    texts, (future, past) = captions_of_views(rows, [View(0, False), View(0, False, past=True)], {"short": 1.0})
    rng = np.random.default_rng(0)
    assert (texts[future.draw(rng)], texts[past.draw(rng)]) == ("after", "before")
    assert "" in texts


def test_a_style_is_drawn_as_often_as_its_weight_says() -> None:
    """Style a 3 : b 1, whose share its two captions divide: 6/8, 1/8, 1/8."""
    rows = dataset(("a", "post", "one"), ("b", "post", "two"), ("b", "post", "three"), ("c", "post", "never"))
    texts, (captions,) = captions_of_views(rows, [View(0, False)], {"a": 3.0, "b": 1.0})
    assert "never" not in texts
    assert captions.shares.tolist() == [0.75, 0.875, 1.0]
    rng = np.random.default_rng(0)
    drawn = [texts[captions.draw(rng)] for _ in range(4000)]
    for text, share in (("one", 0.75), ("two", 0.125), ("three", 0.125)):
        assert drawn.count(text) / 4000 == pytest.approx(share, abs=0.03)  # five standard deviations


def test_a_missing_style_is_named() -> None:
    with pytest.raises(ConfigError, match=r"names 'long', but patch p has only \['short'\] for its post image"):
        captions_of_views(dataset(("short", "post", "after")), [View(0, False)], {"short": 1, "long": 1})


def test_a_mask_is_shown_as_one_channel_a_class() -> None:
    image = Image.fromarray(np.full((4, 4, 3), 7, np.uint8))
    mask = Image.fromarray(np.array([[0, 1, 2, 3], [4, 255, 0, 0]] + [[0] * 4] * 2, np.uint8))
    shown = CONDITIONS["pixels+mask"].shown(image, mask, 4)
    assert shown.shape == (4, 4, 8) and shown.dtype == np.uint8 and (shown[..., :3] == 7).all()
    assert shown[0, :, 3:].tolist() == [[255 * (c == value) for c in range(5)] for value in range(4)]
    assert shown[1, 0, 3:].tolist() == [0, 0, 0, 0, 255]
    assert shown[1, 1, 3:].tolist() == [0] * 5  # not assessable: of no class
    before = np.array(undamaged(mask))
    assert before[:2].tolist() == [[0, 1, 1, 1], [1, 1, 0, 0]]
