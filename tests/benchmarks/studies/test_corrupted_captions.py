"""The captions of benchmarks/studies/corrupted_captions.py."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from benchmarks.studies import corrupted_captions as study

NUMBER = 400  # patches of each split


def row(number: int) -> dict[str, Any]:
    """A patch, with captions that name it."""
    said = {"short": None, "placed": f"mirrored {number}"}
    entries = [
        {"style": style, "target": target, "text": f"{style} {target} {number}", "mirrored": mirrored}
        for style, mirrored in said.items()
        for target in ("pre", "post")
    ]
    return {"patch_id": f"patch-{number}", "captions": entries}


@pytest.fixture(autouse=True)
def dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patches 0 to 399 are of the split train, 400 to 799 of test."""
    splits = {
        split: Dataset.from_list([row(first + number) for number in range(NUMBER)])
        for split, first in (("train", 0), ("test", NUMBER))
    }
    monkeypatch.setattr(study, "open_dataset", lambda _, split: splits[split])


def test_shares_are_false() -> None:
    """As many as said, the same ones and more of them; no caption of a pre image, and none of the other split."""
    false: dict[str, set[str]] = {}
    for line in study.written(Path()):
        _, target, number = line["text"].split()
        if line["patch_id"] != f"patch-{number}":
            assert target == "post"
            assert (int(number) < NUMBER) == (int(line["patch_id"].split("-")[1]) < NUMBER)
            false.setdefault(line["style"], set()).add(line["patch_id"])
    assert false["false20"] < false["false50"] < false["others"]
    assert "labels" not in false
    assert len(false["others"]) == 2 * NUMBER
    for style, share in (("false20", 0.2), ("false50", 0.5)):
        deviation = (2 * NUMBER * share * (1 - share)) ** 0.5  # binomial
        assert abs(len(false[style]) - 2 * NUMBER * share) < 4 * deviation


def test_what_fell_is_written_from_labels(tmp_path: Path) -> None:
    """A caption that passed stays; any other becomes the placed one, with its mirrored wording."""
    passed = tmp_path / "passed.jsonl"
    passed.write_text(json.dumps({"patch_id": "patch-3", "target": "post", "text": "passed"}) + "\n")
    lines = {(line["patch_id"], line["target"]): line for line in study.checked(Path(), passed)}
    assert len(lines) == 4 * NUMBER
    known = {"patch_id": "patch-3", "style": "checked50"}
    assert lines["patch-3", "post"] == known | {"target": "post", "text": "passed"}
    assert lines["patch-3", "pre"] == known | {"target": "pre", "text": "placed pre 3", "mirrored": "mirrored 3"}
