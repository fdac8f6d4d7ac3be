"""Whether two pictures show one place."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from data.imagery.encode import encode_png
from data.quality.duplicates import Hashed
from data.quality.likeness import likeness, mix_up
from data.quality.look_alikes import SamePicture

SHOWN = np.zeros((256, 256), np.bool_)


@cache
def ground(seed: int) -> NDArray[np.uint8]:
    """Fields of many sizes."""
    noise = np.random.default_rng(seed).standard_normal((256, 256, 3))
    soft = sum((ndimage.gaussian_filter(noise, (size, size, 0)) * size for size in (2, 4, 8)), np.zeros_like(noise))
    return np.asarray(np.clip(128 + 50 * soft / soft.std(), 1, 255), np.uint8)


def later(seed: int) -> NDArray[np.uint8]:
    """In other light, moved, with noise, half of it changed beyond recognition."""
    random = np.random.default_rng(seed)
    moved = np.roll(ground(seed) * 0.5 + 40 + random.normal(0, 4, (256, 256, 3)), (5, -4), axis=(0, 1))
    moved[:128] = ground(seed + 999)[:128]
    return np.asarray(np.clip(moved, 1, 255), np.uint8)


def test_a_place_later_is_more_alike_than_any_other_place() -> None:
    after = [later(i) for i in range(5)]
    here = [likeness(ground(i), after[i], SHOWN) for i in range(5)]
    others = [likeness(ground(i), after[j], SHOWN) for i in range(5) for j in range(5) if i != j]
    assert likeness(ground(0), ground(0), SHOWN) == pytest.approx(1)
    assert min(here) > 0.2 > max(others)


def test_missing_ground_is_not_compared() -> None:
    strip = SHOWN.copy()
    strip[:, :90] = True
    black = [np.where(strip[..., None], 0, ground(seed)).astype(np.uint8) for seed in (1, 2)]
    assert likeness(black[0], black[1], strip) < 0.2
    assert likeness(black[0], ground(1), strip) > 0.95
    flat = np.full((256, 256, 3), 90, np.uint8)
    assert np.isnan(likeness(flat, ground(0), SHOWN)) and np.isnan(likeness(ground(0), ground(1), ~SHOWN))


def test_mix_ups_are_told() -> None:
    noisy = np.clip(ground(3) + np.random.default_rng(0).normal(0, 1, (256, 256, 3)), 0, 255).astype(np.uint8)
    assert mix_up(ground(3), later(3), SHOWN) == ""
    assert "copy of pre" in mix_up(ground(3), noisy, SHOWN)
    assert "another place" in mix_up(ground(3), later(4), SHOWN)
    assert mix_up(ground(3), later(4), ~SHOWN) == ""


def test_a_copy_is_told_by_its_mean_difference_where_both_show_ground() -> None:
    """The second differs by 3 grey levels in one channel of three, and wholly where there is no data."""
    post, hole = ground(3).copy(), SHOWN.copy()
    post[..., 1] = np.where(post[..., 1] < 128, post[..., 1] + 3, post[..., 1] - 3)
    hole[:40] = True
    post[hole] = 0
    assert "differ by 1.0 grey levels" in mix_up(ground(3), post, hole)


def test_the_closer_look_at_patches_of_one_hash(tmp_path: Path) -> None:
    """A picture, a copy in other light, the same file, another place, and a copy that is placed apart."""
    brighter = np.clip(ground(0) * 0.9 + 20, 0, 255).astype(np.uint8)
    pictures = {"a": ground(0), "b": brighter, "c": ground(0), "d": ground(1), "e": brighter}
    rows = [{"patch_id": name, "pre": {"bytes": encode_png(image)}} for name, image in pictures.items()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=2)
    sha256 = {"a": "1", "c": "1"}
    a, b, c, d, e = (Hashed(name, f"s{name}", "train", "0", sha256.get(name, name), "x.parquet") for name in "abcde")
    nowhere = SamePicture(tmp_path, [], [])
    assert [nowhere(a, other) for other in (b, c, d, e)] == [True, True, False, True]
    placed = SamePicture(tmp_path, {"sa", "sc", "se"}, [("sa", "sb", 0.1)])
    assert [placed(a, other) for other in (b, c, d, e)] == [True, True, False, False]
    assert SamePicture(tmp_path, {"sa", "se"}, [("sa", "se", 0.1)])(e, a)
