"""Opening a built dataset."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Features

from data.dataset.open import fingerprint, open_dataset, read_manifest, rows_of
from data.errors import DataError
from data.schema import FEATURES, HISTORY, arrow_schema
from data.sources.events import SAME_GROUND
from tests.data.tiny_release import SCENE_IDS


@pytest.fixture
def copy(tiny_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))


def test_open(tiny_dataset: Path) -> None:
    dataset = open_dataset(tiny_dataset, "train")
    assert len(dataset) == 12
    assert dataset[0]["scene_id"] == SCENE_IDS[0] and dataset[0]["post"].mode == "RGB"
    assert dataset[0]["damage_mask"].getpixel((3, 3)) == 4


def test_the_fingerprint_goes_with_the_content(tiny_dataset: Path, copy: Path) -> None:
    assert fingerprint(copy) == fingerprint(tiny_dataset) and len(fingerprint(copy)) == 64


def test_unknown_split_names_those_that_exist(tiny_dataset: Path) -> None:
    with pytest.raises(DataError, match="has no split 'val'; it has train, validation, test"):
        open_dataset(tiny_dataset, "val")


def test_events_left_out(tiny_dataset: Path) -> None:
    """Their patches are gone from any split; a name that no event has is reported."""
    (event,) = {row["event"] for row in open_dataset(tiny_dataset, "validation")}
    assert event == "testville-flood"
    left = open_dataset(tiny_dataset, "train", ["testville-flood"])
    assert set(left["event"][:]) == {"hurricane-michael"} and len(left) == 8
    assert left[0]["post"].mode == "RGB"
    with pytest.raises(DataError, match="without testville-flood no patch of the split is left"):
        open_dataset(tiny_dataset, "validation", ["testville-flood"])
    with pytest.raises(DataError, match=r"no event 'testvile-flood' in .*Did you mean testville-flood\?"):
        open_dataset(tiny_dataset, "train", ["testvile-flood"])


def test_events_on_one_ground_are_left_out_together(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAME_GROUND, "testville-flood", "hurricane-michael")
    with pytest.raises(DataError, match="no patch of the split is left"):
        open_dataset(tiny_dataset, "train", ["testville-flood"])


def test_rows_of_some_events(tiny_dataset: Path) -> None:
    """Positions in the whole split."""
    dataset = open_dataset(tiny_dataset, "train")
    assert rows_of(dataset, []) == list(range(12))
    assert rows_of(dataset, ["testville-flood"]) == [i for i in range(12) if dataset[i]["event"] == "testville-flood"]
    with pytest.raises(DataError, match=r"no event 'x' in the split. It has hurricane-michael, testville-flood"):
        rows_of(dataset, ["x"])


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist. Build it: pre2post build --source"):
        open_dataset(tmp_path / "nowhere", "train")


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a built dataset: it has no dataset\.json"):
        open_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "the file is \\[\\]: input should be an object"),
        ('{"format": "other"}', "not written by pre2post build"),
        (
            '{"format": "pre2post-dataset", "format_version": 9}',
            "format version 9, this pre2post reads 1 to 2",
        ),
    ],
)
def test_bad_manifest(copy: Path, content: str, message: str) -> None:
    (copy / "dataset.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_manifest(copy)


def test_the_format_before_there_was_a_cover_mask(copy: Path) -> None:
    """Opened as before; its rows lack the column."""
    manifest: dict[str, Any] = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps(manifest | {"format_version": 1}))
    for shard in (copy / "data").iterdir():
        pq.write_table(pq.read_table(shard).drop_columns(["cover_mask"]), shard)
    assert "cover_mask" not in open_dataset(copy, "train")[0]


def test_a_lost_shard(copy: Path) -> None:
    manifest: dict[str, Any] = json.loads((copy / "dataset.json").read_text())
    lost = copy / manifest["shards"][0]["file"]
    lost.unlink()
    with pytest.raises(DataError, match=f"{lost} is missing, though dataset.json lists it"):
        open_dataset(copy, "train")


@pytest.mark.parametrize("name", ["flood [v1]", "a*b?", "[!x]", "x#y%20 {z}"])
def test_a_path_with_signs_of_a_pattern_is_a_path(tiny_dataset: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny_dataset, tmp_path / name)
    files = (tmp_path / name / "data").glob("train-*")
    assert len(open_dataset(tmp_path / name, "train")) == sum(pq.read_metadata(file).num_rows for file in files) > 0


def test_datasets_3_knows_the_types_of_all_columns(tiny_dataset: Path) -> None:
    """`List` came with 4; the features that 3 has say the same to newer ones."""
    shard = next((tiny_dataset / "data").glob("train-*.parquet"))
    for schema in (pq.read_schema(shard), arrow_schema(Features({**FEATURES, **HISTORY}))):
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        types = set(re.findall('"_type": "([A-Za-z]+)"', json.dumps(features)))
        assert types == {"Value", "Image", "Sequence"}
        assert Features.from_arrow_schema(schema) == {**FEATURES, **(HISTORY if "history" in features else {})}


def test_a_cache_of_datasets_that_cannot_be_written_is_named(
    tmp_path: Path, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(DataError, match=r"cache of datasets in .*file/cache .*not a folder.*HF_HOME"):
        open_dataset(tiny_dataset, "train")
