"""The manifest of a user's own pairs: what it says, and what is wrong with it."""

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio import Affine

from data.build import build
from data.errors import DataError
from data.sources.pairs import FIELDS, find_pairs
from tests.data.rasters import NORTH_UP, noise, write_tif
from tests.data.tiny_release import TESTVILLE_1, label

PAIR = {"pre": "a/1.tif", "post": "b/1.tif", "event": "hurricane-ida"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images, a label and a mask to list."""
    for side in "ab":
        for number in "12":
            write_tif(tmp_path / side / f"{number}.tif", noise(64, 64, seed=ord(side) + int(number)))
    (tmp_path / "1.json").write_text(json.dumps(label(TESTVILLE_1, "post")))
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, :16, :16], mask[0, 40:, 40:] = 4, 255
    write_tif(tmp_path / "mask.tif", mask)
    return tmp_path


def manifest(folder: Path, *lines: dict[str, Any] | str) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def built(folder: Path, *lines: dict[str, Any] | str, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    build(manifest=manifest(folder, *lines), out=folder / "d", **{"size": 64, "workers": 1} | options)
    rows = [row for file in sorted((folder / "d" / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    return {row["scene_id"]: row for row in rows}, json.loads((folder / "d" / "dataset.json").read_text())


def image(row: dict[str, Any], name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row[name]["bytes"])))


def test_a_second_post_image(folder: Path) -> None:
    """Cut like post; null where none is listed; one that is not there, or of another depth, is named."""
    write_tif(folder / "c.tif", noise(64, 64, seed=9))
    write_tif(folder / "deep.tif", noise(64, 64, seed=9).astype(np.uint16))
    rows, described = built(
        folder, PAIR | {"scene_id": "x", "post_again": "c.tif"}, PAIR | {"scene_id": "y"},
        PAIR | {"scene_id": "z", "post_again": "absent.tif"}, PAIR | {"scene_id": "deep", "post_again": "deep.tif"},
    )  # fmt: skip
    assert np.array_equal(image(rows["x"], "post_again"), noise(64, 64, seed=9).transpose(1, 2, 0))
    assert rows["y"]["post_again"] is None
    assert rows.keys() == {"x", "y"}
    reasons = " ".join(entry["reason"] for entry in described["quarantine"])
    assert "post_again is 'absent.tif'" in reasons
    assert "deep.tif: holds uint16, unlike the pair" in reasons


def test_all_that_a_line_may_say(folder: Path) -> None:
    dates = {"pre_date": "2021-03-01", "post_date": "2021-08-31"}
    optional = {"disaster_type": "flooding", "scene_id": "x", "post_label": "1.json", "split": "test"}
    found = find_pairs(manifest(folder, PAIR | dates | optional, "", PAIR | {"pre": "a/2.tif", "mask": "mask.tif"}))
    second, first = found.scenes  # by their ids, and "2" is the name of the pre image
    assert (first.scene_id, first.event, first.official_split) == ("x", "hurricane-ida", "test")
    assert (first.pre_date, first.post_date) == (date(2021, 3, 1), date(2021, 8, 31))
    assert (first.pre_image, first.post_image) == (folder / "a" / "1.tif", folder / "b" / "1.tif")
    assert (first.post_label, first.labels, first.disaster_type) == (folder / "1.json", "post", "flooding")
    assert (second.scene_id, second.mask, second.labels) == ("2", folder / "mask.tif", "mask")
    assert (second.official_split, second.pre_date) == ("", None)
    assert (found.incomplete, found.unrecognised) == ((), ())


def test_what_is_told_reaches_the_dataset(folder: Path) -> None:
    first = PAIR | {"disaster_type": "flooding", "pre_date": "2021-03-01", "post_date": "2021-08-31"}
    first |= {"post_label": "1.json", "split": "validation"}
    second = PAIR | {"pre": "a/2.tif", "mask": "mask.tif", "post_date": "2021-09-01"}
    rows, described = built(folder, first, second)
    assert (described["build"]["source"], described["splits"].keys()) == ("pairs.jsonl", {"validation", "train"})
    one, two = rows["1"], rows["2"]
    assert one["disaster_type"] == "flooding" and two["disaster_type"] == "flooding"  # from its event
    assert one["metadata_pre"][4:] == [2021, 3, 1] and one["metadata_post"][4:] == [2021, 8, 31]
    assert two["metadata_post"][4:] == [2021, 9, 1] and np.isnan(two["metadata_pre"][4:]).all()
    assert one["counts"]["no_damage"] == 1 and one["location_source"] == "tile"
    assert (image(one, "damage_mask")[4:12, 4:12] == 1).all()
    # A mask alone: its values, but nothing is known of single buildings.
    assert (two["labels"], two["counts"]["destroyed"], two["buildings"]) == ("mask", None, [])
    mask = image(two, "damage_mask")
    assert (mask[:16, :16] == 4).all() and (mask[40:, 40:] == 255).all() and mask[20, 20] == 0
    assert described["labels"] == {"both": 0, "post": 1, "pre": 0, "mask": 1, "none": 0}
    assert described["splits"]["train"]["labelled_patches"] == 0
    np.testing.assert_array_equal(image(two, "post").transpose(2, 0, 1), noise(64, 64, seed=ord("b") + 1))


def test_a_mask_on_another_grid(folder: Path) -> None:
    """Twice as coarse: each of its pixels is four of pre."""
    mask = np.random.default_rng(0).choice([0, 1, 2, 3, 4, 255], (1, 32, 32)).astype(np.uint8)
    write_tif(folder / "coarse.tif", mask, NORTH_UP @ Affine.scale(2))
    rows, _ = built(folder, PAIR | {"mask": "coarse.tif"})
    np.testing.assert_array_equal(image(rows["1"], "damage_mask"), mask[0].repeat(2, axis=0).repeat(2, axis=1))


def test_a_mask_of_other_values_is_quarantined(folder: Path) -> None:
    write_tif(folder / "odd.tif", np.full((1, 64, 64), 7, np.uint8))
    _, described = built(folder, PAIR | {"mask": "odd.tif"}, PAIR | {"pre": "a/2.tif"})
    (entry,) = described["quarantine"]
    assert entry["reason"] == f"{folder / 'odd.tif'}: holds the value 7, expected 0, 1, 2, 3, 4, 255 only."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "a list, expected an object with pre, post, event"),
        (PAIR | {"post_dat": "2021-01-01"}, "no such field 'post_dat'. Did you mean post_date?"),
        (PAIR | {"zzz": "1"}, "no such field 'zzz'. Expected pre, post, event, scene_id"),
        (PAIR | {"scene_id": 7}, "scene_id is 7, expected a non-empty text"),
        (PAIR | {"event": " "}, "event is ' ', expected a non-empty text"),
        ({"pre": "a/1.tif", "post": "b/1.tif"}, "has no event"),
        ('{"pre": "a/1.tif", "pre": "a/2.tif"}', "pre is given 2 times"),
        (PAIR | {"post": "b/9.tif"}, "post is 'b/9.tif': {folder}/b/9.tif does not exist. Paths are relative"),
        (PAIR | {"pre": "a"}, "pre is 'a': {folder}/a is a folder"),
        (PAIR | {"mask": "a\x00b"}, "does not exist"),
        (PAIR | {"mask": "\ud800.png"}, "mask is '\\ud800.png', which contains half a surrogate pair"),
        (PAIR | {"post": "b/../a/1.tif"}, "post is 'b/../a/1.tif': the same file as pre"),
        (PAIR | {"mask": "mask.tif", "post_label": "1.json"}, "give label files or a mask, not both"),
        (PAIR | {"post_date": "31.08.2021"}, "post_date is '31.08.2021': expected a date such as 2021-08-31"),
        (PAIR | {"post_date": "2021-02-30"}, "expected a date such as"),
        (
            PAIR | {"pre_date": "2021-09-01", "post_date": "2021-08-31"},
            "earlier than pre_date, 2021-09-01. Are pre and",
        ),
        (
            PAIR | {"event": "Hurricane Ida"},
            "event is 'Hurricane Ida': expected lower-case letters, digits and hyphens",
        ),
        (PAIR | {"split": "hold"}, "split is 'hold': expected train, validation, test"),
        (PAIR | {"disaster_type": "flood"}, "disaster_type is 'flood': did you mean flooding?"),
        (PAIR | {"disaster_type": "Ψ"}, "expected earthquake, fire, flooding"),
        (PAIR | {"scene_id": "../x"}, "scene_id is '../x': expected letters, digits"),
        (PAIR | {"pre": "a/2.tif", "scene_id": "1"}, "scene_id is '1': that of line 1 too; give each its own"),
    ],
)
def test_a_mistake_is_named_and_the_others_are_found(folder: Path, line: dict[str, Any] | str, message: str) -> None:
    path = manifest(folder, PAIR, line)
    found = find_pairs(path)
    assert [scene.scene_id for scene in found.scenes] == ["1"]
    ((where, reason),) = found.incomplete
    assert where == "pairs.jsonl, line 2"
    assert reason.startswith(f"{path}, line 2: ") and message.format(folder=folder) in reason


def test_mistakes_are_in_the_quarantine_of_the_build(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, described = built(folder, PAIR, PAIR | {"post": "b/9.tif"})
    (entry,) = described["quarantine"]
    assert entry["scene_id"] == "pairs.jsonl, line 2" and "post is 'b/9.tif'" in entry["reason"]
    assert "quarantined pairs.jsonl, line 2: " in capsys.readouterr().out
    with pytest.raises(DataError, match=r"line 2: post is 'b/9.tif'.*Stopped at once, as --strict asks"):
        built(folder, PAIR, PAIR | {"post": "b/9.tif"}, strict=True, overwrite=True)


def test_manifests_that_hold_nothing(folder: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.jsonl: holds no pair"):
        find_pairs(manifest(folder, "", " "))
    with pytest.raises(
        DataError, match=r"none of 2 lines of .*pairs\.jsonl could be used\. The first: .*line 1: not valid"
    ):
        find_pairs(manifest(folder, "{", "}"))
    with pytest.raises(DataError, match=r"manifest .*nowhere\.jsonl: cannot be read \(No such file"):
        find_pairs(folder / "nowhere.jsonl")
    (folder / "latin.jsonl").write_bytes(b'{"event": "\xe9"}')
    with pytest.raises(DataError, match="not UTF-8"):
        find_pairs(folder / "latin.jsonl")


def test_a_source_or_a_manifest(folder: Path) -> None:
    with pytest.raises(DataError, match="give either --source, an xView2 release, or --manifest"):
        build(out=folder / "d")
    with pytest.raises(DataError, match="give either --source"):
        build(out=folder / "d", source=folder, manifest=manifest(folder, PAIR))


TEXTS = st.sampled_from(
    ["a/1.tif", "b/1.tif", "a/2.tif", "1.json", "mask.tif", "ida", "2021-08-31", "test", "fire", ""]
)
VALUES = st.one_of(TEXTS, st.text(max_size=9), st.integers(), st.none(), st.lists(TEXTS, max_size=2))
LINES = st.one_of(st.dictionaries(st.sampled_from(FIELDS), VALUES).map(json.dumps), st.text(max_size=30))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=5))
def test_every_line_is_a_scene_or_a_mistake(folder: Path, lines: list[str]) -> None:
    path = folder / "pairs.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        found = find_pairs(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        given_lines = [line for line in path.read_text("utf-8", "strict").split("\n") if line.strip()]
        assert len(found.scenes) + len(found.incomplete) == len(given_lines)
