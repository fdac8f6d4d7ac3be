"""Captions from elsewhere: what joins, what is named, what stops the build."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data.build import build
from data.captions.file import CaptionFile
from data.errors import DataError
from tests.data.tiny_release import SCENE_IDS

GOOD = {"scene_id": SCENE_IDS[0], "style": "rscc", "target": "post", "text": "a town after a storm"}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_captions_join_by_scene_and_by_patch(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patch = f"{SCENE_IDS[0]}_0000_0032_32"
    lines = [
        {"patch_id": patch, "style": "short", "target": "post", "text": "mine, in the east", "mirrored": "in the west"},
        "",
        GOOD,
        GOOD | {"scene_id": "nowhere_00000001"},
        GOOD | {"style": "vlm", "text": "house " * 76},
        GOOD | {"style": "long", "text": "house " * 76},
        GOOD | {"style": "chunks", "text": "house " * 40 + "\n" + "house " * 40},
        GOOD | {"target": "pre", "text": "the houses on the left"},
        GOOD | {"target": "pre", "text": "a village below a volcano, its fields under Ash"},
    ]
    build(source=release, out=tmp_path / "d", size=32, workers=1, captions=write(tmp_path / "more.jsonl", lines))
    rows = pq.read_table(tmp_path / "d" / "data" / "train-00000-of-00001.parquet").to_pylist()
    own = [[entry for entry in row["captions"] if entry["text"].startswith("mine")] for row in rows]
    mine = {"style": "short", "target": "post", "text": "mine, in the east", "mirrored": "in the west"}
    assert own == [[mine] if row["patch_id"] == patch else [] for row in rows]
    joined = [[entry["mirrored"] for entry in row["captions"] if entry["style"] == "rscc"] for row in rows]
    assert joined == [["a town after a storm", None, "a village below a volcano, its fields under Ash"]] * 4 + [[]] * 8
    first = next(e for e in rows[1]["captions"] if (e["style"], e["target"]) == ("short", "post"))
    assert first["text"].startswith("a satellite image of")  # ours come first

    outcome = json.loads((tmp_path / "d" / "dataset.json").read_text())["captions_file"]
    assert (outcome["file"], outcome["lines"], outcome["joined"]) == ("more.jsonl", 8, 7)
    assert outcome["unmatched"] == [{"line": 4, "id": "nowhere_00000001"}]
    assert outcome["too_long"] == [{"line": 5, "id": SCENE_IDS[0]}]
    assert outcome["not_for_mirrored_views"] == [{"line": 8, "id": SCENE_IDS[0]}]
    assert outcome["damage_before"] == [{"line": 9, "id": SCENE_IDS[0]}]
    report = (tmp_path / "d" / "report.html").read_text()
    for said in (capsys.readouterr().out, report):
        assert "captions of more.jsonl that match no patch (1)" in said and "nowhere_00000001 (line 4)" in said
        assert "captions of more.jsonl that may exceed 77 tokens (1)" in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"scene_id": ', r"line 2: not valid JSON"),
        ("[1]", r"line 2: a list, expected an object"),
        (GOOD | {"scene": "x"}, r"line 2: no such field 'scene'. Did you mean scene_id\?"),
        (GOOD | {"patch_id": "x"}, r"line 2: give either scene_id or patch_id"),
        ({name: GOOD[name] for name in ("style", "target", "text")}, r"line 2: give either scene_id or patch_id"),
        ({name: GOOD[name] for name in ("scene_id", "target", "text")}, r"line 2: has no style"),
        (GOOD | {"target": "after"}, r"line 2: target is 'after', expected 'pre' or 'post'"),
        (GOOD | {"text": " "}, r"line 2: text is ' ', expected a non-empty text"),
        (GOOD | {"text": None}, r"line 2: has no text"),
    ],
)
def test_a_wrong_line_stops_before_anything_is_written(release: Path, tmp_path: Path, line: Any, message: str) -> None:
    path = write(tmp_path / "more.jsonl", [GOOD, line])
    with pytest.raises(DataError, match=message):
        build(source=release, out=tmp_path / "d", size=32, workers=1, captions=path)
    assert not (tmp_path / "d").exists()


def test_null_is_as_if_left_out(tmp_path: Path) -> None:
    lines = [GOOD | {"patch_id": None, "mirrored": None}, GOOD | {"text": "in the east", "mirrored": None}]
    file = CaptionFile(write(tmp_path / "more.jsonl", lines))
    assert [line.entry["mirrored"] for line in file.lines] == ["a town after a storm", None]


def test_a_caption_of_a_large_raster_reaches_all_of_its_parts(tmp_path: Path) -> None:
    lines = [{"scene_id": "strip", "style": "vlm", "target": "post", "text": text} for text in ("a", "the flood")]
    file = CaptionFile(write(tmp_path / "more.jsonl", lines))
    for part in ("strip_r000000_c000000", "strip_r000000_c001024"):
        known = {"scene_id": part, "disaster_type": "wind"}
        rows: list[dict[str, Any]] = [known | {"patch_id": f"{part}_0_{i}", "captions": []} for i in (0, 1)]
        file.add_to("strip", rows)
        file.count("strip", rows)
        assert [[entry["text"] for entry in row["captions"]] for row in rows] == [["a", "the flood"]] * 2
    outcome = file.outcome()
    assert (outcome["joined"], outcome["unmatched"]) == (2, [])
    assert outcome["other_disaster"] == [{"line": 2, "id": "strip"}]


def test_files_that_hold_no_captions(release: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xe9"}')
    write(tmp_path / "empty.jsonl", [""])
    for name, message in (("none", "cannot be read"), ("latin", "not UTF-8"), ("empty", "holds no caption")):
        with pytest.raises(DataError, match=message):
            build(source=release, out=tmp_path / "d", size=32, captions=tmp_path / f"{name}.jsonl")


@pytest.mark.parametrize(("moderate", "severe"), [(0.5, 0.4), (0, 0.4), (0.1, 1.1)])
def test_thresholds_are_checked(release: Path, tmp_path: Path, moderate: float, severe: float) -> None:
    with pytest.raises(DataError, match="expected 0 < moderate < severe <= 1"):
        build(source=release, out=tmp_path / "d", size=32, moderate_from=moderate, severe_from=severe)


@pytest.mark.parametrize(
    ("part", "row", "col"), [(1, 0, 0), (2, 0, 512), (3, 512, 0), (4, 512, 512)]
)  # as in RSCC's image files
def test_rscc_is_read_as_it_is(tmp_path: Path, part: int, row: int, col: int) -> None:
    image = "xbd/images-w512-h512/palu-tsunami/images/palu-tsunami_00000030_{}_disaster_part{}.png"
    line = {"pre_image": image.format("pre", part), "post_image": image.format("post", part), "model_id": "m"}
    line |= {"change_caption": "Roofs on the left are gone.", "inference_type": "textual_prompt"}
    other = line | {"post_image": "ebd/EARTHQUAKE-TURKEY_000001_post_disaster.png"}
    file = CaptionFile(write(tmp_path / "rscc.jsonl", [line, other]))
    ids = [f"palu-tsunami_00000030_{y:04d}_{x:04d}_512" for y in (0, 512) for x in (0, 512)]
    scene: dict[str, Any] = {"scene_id": "palu-tsunami_00000030", "event": "palu-tsunami", "disaster_type": "tsunami"}
    scene |= {"labels": "none", "size": 512, "pixel_size_m": 0.5, "buildings": []}
    rows: list[dict[str, Any]] = [scene | {"patch_id": id_, "captions": []} for id_ in ids]
    file.add_to(scene["scene_id"], rows)
    file.count(scene["scene_id"], rows)
    wanted = {"style": "rscc", "target": "post", "text": "Roofs on the left are gone.", "mirrored": None}
    assert {row["patch_id"]: row["captions"] for row in rows if row["captions"]} == {
        f"palu-tsunami_00000030_{row:04d}_{col:04d}_512": [wanted]
    }
    assert file.outcome()["unmatched"] == [{"line": 2, "id": "EARTHQUAKE-TURKEY_000001_post_disaster"}]
