"""A mirrored view is told where things lie in it, not in the patch."""

from typing import Any

import pytest
from datasets import Dataset

from train.errors import ConfigError
from train.inputs.views import wordings_of


def dataset(*entries: dict[str, Any]) -> Dataset:
    return Dataset.from_list(
        [{"patch_id": "p", "captions": [{"style": "short", "target": "post"} | e for e in entries]}]
    )


def test_each_view_has_its_own_wording() -> None:
    rows = dataset({"text": "damage in the east", "mirrored": "damage in the west"}, {"text": "a", "mirrored": "a"})
    assert wordings_of(rows, "short", "post", False) == [["damage in the east", "a"]]
    assert wordings_of(rows, "short", "post", True) == [["damage in the west", "a"]]


def test_a_caption_without_mirrored_wording_is_for_the_plain_view_only() -> None:
    rows = dataset({"text": "on the left", "mirrored": None}, {"text": "a", "mirrored": "a"})
    assert wordings_of(rows, "short", "post", False) == [["on the left", "a"]]
    assert wordings_of(rows, "short", "post", True) == [["a"]]
    alone = dataset({"text": "on the left", "mirrored": None})
    with pytest.raises(ConfigError, match=r"data.mirror is true.*patch p"):
        wordings_of(alone, "short", "post", True)


def test_older_datasets_without_the_field_fit_both_views() -> None:
    rows = dataset({"text": "a town after a flood"})
    assert (
        wordings_of(rows, "short", "post", True)
        == wordings_of(rows, "short", "post", False)
        == [["a town after a flood"]]
    )
