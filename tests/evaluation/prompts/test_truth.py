"""What the measures say of real pairs."""

import io
from typing import Any

import numpy as np
from PIL import Image

from evaluation.prompts.change import Detector
from evaluation.prompts.truth import real_pairs
from tests.evaluation.prompts.test_study import built_up


def decoded(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: Image.open(io.BytesIO(row[name]["bytes"])) for name in ("pre", "post")}


def test_a_clouded_pair_says_nothing_of_change() -> None:
    """Of two pairs the clear one counts; its changed area is that of its square, 24 of 64 px."""
    cover = np.zeros((64, 64), np.uint8)
    cover[60, 60] = 1
    rows = [decoded(built_up(0)), decoded(built_up(1)) | {"cover_mask": Image.fromarray(cover)}]
    severity = real_pairs(rows, 64, Detector(0.05, {}))["severity"]
    (found,) = [one for one in severity.values() if one["patches"]]
    assert found["patches"] == 1
    assert abs(found["changed"] - (24 / 64) ** 2) < 0.04
