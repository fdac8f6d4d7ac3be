"""Lists of patches as benchmarks publish them."""

from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from data.dataset.patch_list import listed_positions, read_patch_list
from data.errors import DataError
from tests.damage import hostile

ROWS = Dataset.from_dict(
    {
        "patch_id": ["a_00000001_0000_0000_512", "a_00000001_0512_0000_512", "b_00000002_0000_0512_512"],
        "scene_id": ["a_00000001", "a_00000001", "b_00000002"],
    }
)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a_00000001_0000_0000_512", "a_00000001_0000_0000_512"),
        ("a_00000001", "a_00000001"),
        ("xbd/images-w512-h512/a/a_00000001_pre_disaster_part3.png", "a_00000001_0512_0000_512"),
        ("train/images/a_00000001_post_disaster.png", "a_00000001"),
        ("a_00000001_pre_disaster.tif", "a_00000001"),
        ('{"pre_image": "x/b_00000002_pre_disaster_part2.png", "mask": "m.png"}', "b_00000002_0000_0512_512"),
        ('{"patch_id": "b_00000002_0000_0512_512", "pre_image": "other.png"}', "b_00000002_0000_0512_512"),
    ],
)
def test_a_line_names_a_patch_or_a_scene(tmp_path: Path, line: str, name: str) -> None:
    assert read_patch_list(write(tmp_path / "list.txt", "", line, line)) == [name]


def test_positions_are_those_of_patches_and_of_whole_scenes() -> None:
    assert listed_positions(ROWS, ["a_00000001"], "split test") == ([0, 1], [])
    names = ["b_00000002_0000_0512_512", "a_00000001_0512_0000_512", "c_00000003"]
    assert listed_positions(ROWS, names, "split test") == ([1, 2], ["c_00000003"])


def test_a_list_of_another_dataset(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"split test has none of the 1 that are listed, first 'c'; its own first is a_0"
    ):
        listed_positions(ROWS, ["c"], "split test")
    with pytest.raises(DataError, match=r"list.txt, line 1: names no patch; expected one of patch_id, scene_id"):
        read_patch_list(write(tmp_path / "list.txt", '{"mask": "m.png"}'))
    with pytest.raises(DataError, match="names none"):
        read_patch_list(write(tmp_path / "list.txt", ""))


@given(st.text())
@hostile
def test_any_text_is_read_or_one_message(tmp_path: Path, text: str) -> None:
    (tmp_path / "list.txt").write_bytes(text.encode("utf-8", "replace"))
    try:
        names = read_patch_list(tmp_path / "list.txt")
    except DataError as error:
        assert "list.txt" in str(error)
    else:
        assert names and len(set(names)) == len(names)
