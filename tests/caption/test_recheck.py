"""Caption files of others: what passes is copied as it is, what does not is named with the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from caption.errors import CaptionError
from caption.run import caption
from tests.data.tiny_release import SCENE_IDS

# In the first patch one of two houses is destroyed; the second holds one of unknown damage.
FIRST = {"patch_id": f"{SCENE_IDS[0]}_0000_0000_32", "style": "vlm", "target": "post"}


def write(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_lines_that_pass_are_copied_byte_for_byte(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = json.dumps(FIRST | {"text": "One of two buildings is destroyed."}).replace(": ", " :  ")
    scene = {"scene_id": SCENE_IDS[0], "style": "vlm", "target": "post"}
    lines: list[dict[str, Any] | str] = [
        odd,
        "",
        FIRST | {"text": "Both buildings are destroyed. Both are destroyed in the west."},
        scene
        | {"text": "Nine buildings, two of them destroyed, stand in the north."},  # of the scene: not counted here
        scene | {"text": "The scene is flooded."},
        FIRST | {"target": "pre", "text": "Rubble lies between two houses."},
        FIRST | {"patch_id": "elsewhere_00000000_0000_0000_32", "text": "A town."},
        FIRST | {"text": "Debris in the west.", "mirrored": "I see debris in the east."},
    ]
    caption(dataset=dataset, recheck=write(tmp_path / "in.jsonl", *lines), out=tmp_path / "good.jsonl")
    assert (tmp_path / "good.jsonl").read_text().splitlines() == [odd, json.dumps(lines[3])]
    bad = [json.loads(line) for line in (tmp_path / "good.quarantined.jsonl").read_text().splitlines()]
    assert [entry.pop("why") for entry in bad] == [
        ["count: Both buildings are destroyed"],
        ["disaster: flooded"],
        ["damage before: Rubble"],
        ["first person: I"],
    ]
    assert bad == [lines[2], lines[4], lines[5], lines[7]]
    printed = capsys.readouterr().out
    assert "1 captions are of no patch or scene" in printed and "6 captions checked: 2 pass" in printed
    assert "     1  count: a number that the labels contradict, such as 'Both buildings are destroyed' of" in printed


def test_the_words_for_severity_are_those_of_the_build(dataset: Path, tmp_path: Path) -> None:
    """One house of two destroyed: a ratio of 0.5, severe from 0.4."""
    lines = [FIRST | {"text": f"The damage to buildings is {word}."} for word in ("severe", "moderate")]
    caption(dataset=dataset, recheck=write(tmp_path / "in.jsonl", *lines), out=tmp_path / "good.jsonl")
    assert (tmp_path / "good.jsonl").read_text() == json.dumps(lines[0]) + "\n"


def test_a_file_of_another_dataset_is_refused(dataset: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", FIRST | {"patch_id": "elsewhere", "text": "A town."})
    with pytest.raises(CaptionError, match="no caption is of a patch or scene of"):
        caption(dataset=dataset, recheck=file, out=tmp_path / "good.jsonl")
    assert not (tmp_path / "good.jsonl").exists()
