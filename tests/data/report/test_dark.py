"""Dark images among others, made so that what is right can be said without measuring."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.build import build
from data.report.inspect import inspect
from tests.data.tiny_release import SIDE_PX, write_release

LAMPS = 8  # of 32 x 32 px: less than 1 %


def of_tones(low: int, high: int) -> NDArray[np.uint8]:
    """A scene of all tones from `low` to `high`."""
    return np.random.default_rng(1).integers(low, high, (SIDE_PX, SIDE_PX, 3), np.uint8, endpoint=True)


def test_dark_patches_are_warned_of_and_dim_ones_are_not(tmp_path: Path) -> None:
    """A night with its lamps, and the same with exact black; not a dim image, a half dark one, or missing data."""
    release = write_release(tmp_path / "release")
    night = of_tones(2, 15)
    for top in (0, 32):
        for left in (0, 32):
            night[top : top + LAMPS, left] = 255
    half = of_tones(2, 15)
    half[:, ::4] = 120
    missing = of_tones(60, 90)
    missing[:, :24] = 0
    for name, image in {
        "train/images/hurricane-michael_00000000_post_disaster.png": night,
        "train/images/hurricane-michael_00000001_pre_disaster.png": of_tones(0, 12),
        "test/images/hurricane-michael_00000002_post_disaster.png": of_tones(22, 60),
        "hold/images/testville-flood_00000000_post_disaster.png": half,
        "tier3/images/testville-flood_00000001_post_disaster.png": missing,
    }.items():
        assert (release / name).is_file()
        Image.fromarray(image).save(release / name)
    build(source=release, out=tmp_path / "built", size=32, workers=1)
    inspect(dataset=tmp_path / "built")
    said = (tmp_path / "built/report.html").read_text()
    assert "8 patches are almost black in pre or post, hurricane-michael_00000000_0000_0000_32 for one" in said
    assert "2 patches are more than 25% black (no data)" in said
