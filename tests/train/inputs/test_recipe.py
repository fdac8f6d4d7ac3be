"""What a checkpoint says of the ground that its networks were shown."""

import math

import pytest
from datasets import Dataset

from train.inputs.recipe import scale_of


@pytest.mark.parametrize(
    ("sizes", "pixels_m", "patch_px", "gsd_m"),
    [
        ([256, 256, 256], [0.5, 0.4, math.nan], 256, 0.9),  # 128 and 102.4 m in 128 px
        ([256, 512], [0.5, 0.5], None, 1.5),
        ([256], [math.nan], 256, None),
    ],
)
def test_the_scale_of_a_training(
    sizes: list[int], pixels_m: list[float], patch_px: int | None, gsd_m: float | None
) -> None:
    found = scale_of(Dataset.from_dict({"size": sizes, "pixel_size_m": pixels_m}), 128)
    assert found == {"resolution": 128, "patch_px": patch_px, "gsd_m": gsd_m and pytest.approx(gsd_m)}
