"""Captions of all real patches: lengths by the real tokenizer, positions by an independent computation."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import shapely

from data.build import build

pytestmark = pytest.mark.real
COLUMNS = ["patch_id", "scene_id", "row", "col", "size", "captions", "buildings", "counts"]
POSITION = re.compile(r"damage (?:mainly )?in the ([a-z-]+)")
WEIGHTS = {2: 1 / 3, 3: 2 / 3, 4: 1.0}


@pytest.fixture(scope="module")
def rows(real_dataset: Path) -> list[dict[str, Any]]:
    files = sorted((real_dataset / "data").iterdir())
    return [row for file in files for row in pq.read_table(file, columns=COLUMNS).to_pylist()]


def texts(row: dict[str, Any], style: str, target: str = "post") -> list[str]:
    return [entry["text"] for entry in row["captions"] if (entry["style"], entry["target"]) == (style, target)]


def test_lengths(rows: list[dict[str, Any]], clip_tokens: Callable[[str], int]) -> None:
    for row in rows:
        for target in ("pre", "post"):
            for text in [text for style in ("short", "placed", "diffusionsat") for text in texts(row, style, target)]:
                assert clip_tokens(text) <= 77, text
            for text in texts(row, "chunks", target):
                assert all(clip_tokens(part) <= 77 and part.endswith(".") for part in text.split("\n")), text
            assert [text.replace("\n", " ") for text in texts(row, "chunks", target)] == texts(row, "long", target)
            assert all(clip_tokens(text) <= 300 for text in texts(row, "long", target))


def test_patches_with_buildings_have_long_post_captions(
    rows: list[dict[str, Any]], clip_tokens: Callable[[str], int]
) -> None:
    full = [row for row in rows if sum(number or 0 for number in row["counts"].values()) > 2]
    assert len(full) > 70
    assert all(150 <= clip_tokens(text) <= 300 for row in full for text in texts(row, "long"))


def test_positions_equal_an_independent_computation(rows: list[dict[str, Any]]) -> None:
    """From the clipped polygons of the row, without numpy; a house cut by the edge may move the centroid a little."""
    checked = 0
    for row in rows:
        total, sum_x, sum_y, cut = 0.0, 0.0, 0.0, False
        for building in row["buildings"]:
            weight = WEIGHTS.get(building["damage"], 0.0) if building["counted"] else 0.0
            shape = shapely.from_wkt(building["wkt"])
            left, top, right, bottom = shape.bounds
            cut |= bool(weight) and (min(left, top) <= 0 or max(right, bottom) >= row["size"])
            total += weight
            sum_x += weight * shape.centroid.x / row["size"]
            sum_y += weight * shape.centroid.y / row["size"]
        found = POSITION.search(texts(row, "placed")[0])
        if not total or cut:
            assert total or not found
            continue
        east, north = sum_x / total - 0.5, 0.5 - sum_y / total
        if math.hypot(east, north) < 1 / 6:
            assert not found or found[1] == "centre"
            continue
        word = "north" * (north > 0) + "south" * (north < 0)
        steep = abs(north) / (abs(east) or 1e-12)
        if steep < math.tan(math.pi / 8):
            word = "east" if east > 0 else "west"
        elif steep < math.tan(3 * math.pi / 8):
            word += "-east" if east > 0 else "-west"
        assert not found or found[1] == word, row["patch_id"]
        checked += bool(found)
    assert checked >= 10


def test_captions_of_rscc_find_their_quarters_and_are_held_against_the_labels(
    xbd: Path, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Four captions with the true number of buildings of each quarter, and a fifth with that of another quarter."""
    scene = "hurricane-michael_00000106"
    (folder,) = {path.parents[1] for path in xbd.rglob(f"{scene}_post_disaster.png")}
    for path in folder.rglob(f"{scene}_*"):
        (copy := tmp_path / "xbd" / path.relative_to(folder.parent)).parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    totals = {(row["row"], row["col"]): sum(row["counts"].values()) for row in rows if row["scene_id"] == scene}
    parts = [totals[corner] for corner in ((0, 0), (0, 512), (512, 0), (512, 512))]  # part 1 to 4
    names = [f"xbd/images-w512-h512/{scene}_{{}}_disaster_part{part}.png" for part in (1, 2, 3, 4, 1)]
    wrong = parts[0] + max(parts) + 100
    lines = [
        {"pre_image": name.format("pre"), "post_image": name.format("post"), "change_caption": f"{number} buildings."}
        for name, number in zip(names, [*parts, wrong], strict=True)
    ]
    (tmp_path / "rscc.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    build(source=tmp_path / "xbd", out=tmp_path / "d", captions=tmp_path / "rscc.jsonl", workers=1)
    files = sorted((tmp_path / "d" / "data").iterdir())
    built = [row for file in files for row in pq.read_table(file, columns=COLUMNS).to_pylist()]
    for row in built:
        first = f"{sum(row['counts'].values())} buildings."
        assert [e["text"] for e in row["captions"] if e["style"] == "rscc"][:1] == [first]
    outcome = json.loads((tmp_path / "d" / "dataset.json").read_text())["captions_file"]
    assert (outcome["joined"], outcome["unmatched"]) == (5, [])
    assert outcome["contradictions"] == [
        {"id": f"{scene}_0000_0000_512", "line": 5, "why": f"count ({wrong} buildings)"}
    ]
