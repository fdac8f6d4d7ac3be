"""Names in a dataset of others: those that a build gives, or one message."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.dataset.open import open_dataset
from data.errors import DataError
from data.names import check_names
from tests.generate.worlds import patch_row, write_dataset

GOOD = {"event": "a-fire", "scene_id": "a-fire_00000000", "patch_id": "a-fire_00000000_0000_0512_512"}
PARTS = st.lists(st.sampled_from(["a", "-", "_", ".", "..", "/", "\\", " ", "A", "0000", "_0000_0000_64", "\n", "é"]))


@given(column=st.sampled_from(sorted(GOOD)), name=PARTS.map("".join) | st.text(max_size=5) | st.none())
@example("event", "../../../x")
@example("event", " ")
@example("patch_id", "a_0000_0000_64\n")
def test_a_name_can_only_become_a_plain_file(column: str, name: str | None) -> None:
    """What passes has nothing but the characters of the rule and stays in its folder; all of a build's pass."""
    table = pyarrow.table(
        {key: pyarrow.array([value], pyarrow.string()) for key, value in (GOOD | {column: name}).items()}
    )
    try:
        check_names(table, "d")
    except DataError as error:
        assert column in str(error)
    else:
        assert name is not None
        assert Path("/out", name).resolve() == Path("/out") / name != Path("/out")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_equal_patch_ids(numbers: list[int]) -> None:
    """As a count by hand says."""
    ids = [f"s_{number:04d}_0000_64" for number in numbers]
    table = pyarrow.table({"event": ["e"] * len(ids), "scene_id": ["s"] * len(ids), "patch_id": ids})
    twice = {name for name, count in Counter(ids).items() if count > 1}
    if not twice:
        check_names(table, "d")
    else:
        with pytest.raises(DataError, match="several patches are called") as caught:
            check_names(table, "d")
        assert re.search(r"called (\S+)\. ", str(caught.value))[1] in twice  # type: ignore[index]


@pytest.mark.parametrize(
    "changed",
    [
        {"event": "../x"},
        {"scene_id": "a/b"},
        {"patch_id": ".."},
        {"patch_id": "x.png"},
        {"patch_id": patch_row(1)["patch_id"]},
    ],
)
def test_no_command_opens_such_a_dataset(tmp_path: Path, changed: dict[str, Any]) -> None:
    """The rows are looked at when a split is opened."""
    write_dataset(tmp_path / "d", [patch_row(0, **changed), patch_row(1)])
    with pytest.raises(DataError, match=next(iter(changed)) + "|several patches"):
        open_dataset(tmp_path / "d", "test")


def test_events_of_the_manifest(tmp_path: Path) -> None:
    """Also where no row has them."""
    path = write_dataset(tmp_path / "d", [patch_row(0)]) / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"events": {"../x": {}}}))
    with pytest.raises(DataError, match=r"event '\.\./x' is not a name that pre2post build gives"):
        open_dataset(tmp_path / "d", "test")
