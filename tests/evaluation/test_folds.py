"""Folds gathered: means over events by hand, and the same patches as one evaluation of all."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.errors import EvaluationError
from evaluation.folds import gather, write_folds
from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.generate.worlds import EVENTS, patch_row, png, write_dataset

FOLDS = {"a": [EVENTS[0]], "b": [EVENTS[1], EVENTS[2]]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """Evaluations of two folds and of all their patches; three patches of one event, one of each other."""
    folder = tmp_path_factory.mktemp("folds")
    rows = [patch_row(0), patch_row(4), patch_row(8), patch_row(1), patch_row(2)]
    rows[0]["post_again"] = png(np.zeros((64, 64, 3), np.uint8))
    dataset = write_dataset(folder / "d", rows)
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "networks": "none"}
    arguments |= {"methods": "generated,copy,invert", "sampling": Sampling(steps=2)}
    for name, events in FOLDS.items():
        evaluate(out=folder / name, events=",".join(events), **arguments)
    evaluate(out=folder / "all", **arguments)
    return folder


def mse_of(content: dict[str, Any], row: str, region: str) -> float:
    """In summary."""
    return float(content[row][region]["mse"]["value"])


def test_gathered(folder: Path) -> None:
    """An event counts once in the mean over events, a pixel once over all patches."""
    gathered = gather({name: folder / name for name in FOLDS})
    printed = write_folds(folder, gathered)
    content = json.loads((folder / "leave-one-out.json").read_text())
    whole = json.loads((folder / "all/results.json").read_text())
    for row in ("generated", "copy"):
        for region in ("whole", "inside", "outside"):
            events = [mse_of(whole["by_event"][event], row, region) for event in EVENTS[:3]]
            assert mse_of(content["mean_over_events"], row, region) == pytest.approx(np.mean(events), rel=1e-4)
            assert mse_of(content["all_patches"], row, region) == pytest.approx(
                mse_of(whole["summary"], row, region), rel=1e-4
            )
    assert content["mean_over_events"]["generated"]["inside"]["mse"]["patches"] == 3  # events
    assert content["folds"].keys() == FOLDS.keys()
    (line,) = (line for line in printed.splitlines() if line.startswith("mean over events "))
    assert len(line.split()) == 3 + 6  # inside and outside by three methods
    assert (folder / "leave-one-out.tex").read_text().count("\\begin{table}") == 4


def test_a_fold_of_an_older_format_is_refused(folder: Path, tmp_path: Path) -> None:
    """It does not say which scene a patch is of."""
    content = json.loads((folder / "a" / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(EvaluationError, match=r"results\.json: format 2, this pre2post reads 3. Delete that folder"):
        gather({"a": tmp_path})


@pytest.mark.parametrize("how", ["cut", "list", "no patches", "a patch without scores"])
def test_results_that_are_broken_are_named(folder: Path, tmp_path: Path, how: str) -> None:
    text = (folder / "a" / "results.json").read_text()
    content = json.loads(text)
    if how == "no patches":
        del content["per_patch"]
    elif how == "a patch without scores":
        del content["per_patch"][0]["scores"]
    spoilt = {"cut": text[:100], "list": "[]"}.get(how, json.dumps(content))
    (tmp_path / "results.json").write_text(spoilt)
    with pytest.raises(EvaluationError, match=r"results\.json: .*Delete that folder and run the same command again"):
        gather({"a": tmp_path})


def test_a_row_that_one_fold_lacks_is_named(folder: Path, tmp_path: Path) -> None:
    """It has no numbers of all events, so none."""
    for name in FOLDS:
        (tmp_path / name).mkdir()
        content = json.loads((folder / name / "results.json").read_text())
        if name == "b":
            content["rows_without_images"] = {"invert": "of a reason"}
            for patch in content["per_patch"]:
                del patch["scores"]["invert"]
        (tmp_path / name / "results.json").write_text(json.dumps(content))
    gathered = gather({name: tmp_path / name for name in FOLDS})
    assert gathered.methods == ["generated", "copy"]
    assert "DDIM inversion: no row, of a reason" in write_folds(tmp_path, gathered)
