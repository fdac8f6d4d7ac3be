"""The word study as a user runs it, with a random network: files, numbers, resuming, errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.estimate import Estimate
from evaluation.run import evaluate
from evaluation.words.measures import Row, by_chance, scored
from evaluation.words.report import verdict
from generate.sampling import Sampling
from tests.browser import assert_fits_every_screen, needs_browser
from tests.generate.worlds import patch_row, png, write_dataset

SAMPLING = Sampling(steps=1, seed=5, samples=2)
CAPTION = "a satellite image after a flood: severe damage, 1 of 2 buildings destroyed"
MASK = np.zeros((64, 64), np.uint8)
MASK[16:40, 16:40], MASK[48:, 48:] = 4, 255


def row(index: int, caption: str) -> dict[str, Any]:
    """A patch with one destroyed building and one of unknown damage."""
    return patch_row(index, damage_mask=png(MASK), captions=[{"style": "short", "target": "post", "text": caption}])


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """A study of two patches whose captions name the damage, and of none whose caption does not."""
    folder = tmp_path_factory.mktemp("words")
    dataset = write_dataset(folder / "d64", [row(0, CAPTION), row(1, "after a flood"), row(2, CAPTION)])
    evaluate(checkpoint=run_folder, dataset=dataset, out=folder / "out", study="words", sampling=SAMPLING)
    return folder / "out"


def results(out: Path) -> dict[str, Any]:
    """results.json."""
    content: dict[str, Any] = json.loads((out / "results.json").read_text())
    return content


def test_files_and_answers(studied: Path) -> None:
    """Maps of every word of the caption, patch, seed and row; only patches whose caption names the damage."""
    content = results(studied)
    words = {"destroyed", "damage", "buildings", "satellite"}
    assert sorted(path.name for path in studied.iterdir()) == ["images", "report.html", "results.json"]
    assert {answer["word"] for answer in content["answers"]} == words
    found = {(one["method"], one["network"]) for one in content["answers"]}
    assert found == {("generated", name) for name in ("both", "unet", "controlnet")} | {("base", "unet")}
    assert len(content["answers"]) == 2 * 2 * len(words) * len(found)
    assert {answer["position"] for answer in content["answers"]} == {0, 2}
    assert (studied / "report.html").read_text().count("<article>") == 2


def test_an_answer_by_hand(studied: Path) -> None:
    """From the map's file and the mask at the size of the network, without the unknown building."""
    (one,) = (
        answer
        for answer in results(studied)["answers"]
        if [answer[key] for key in ("method", "network", "position", "word", "sample")]
        == ["generated", "controlnet", 2, "destroyed", 1]
    )
    small = MASK[1::2, 1::2]
    folder = studied / f"images/generated/words/{one['patch_id']}_s1"
    with Image.open(folder / "destroyed.controlnet.png") as image:
        score = scored(np.asarray(image), small == 4, small != 255)
    assert one["score"] == {"hit": pytest.approx(score.hit), "iou": pytest.approx(score.iou)}
    share = 144 / (1024 - 64)
    assert one["chance"] == {"hit": pytest.approx(100 * share), "iou": pytest.approx(100 * share / (2 - share))}
    assert by_chance(small == 4, small != 255).hit == pytest.approx(100 * share)


def test_run_again(studied: Path, run_folder: Path) -> None:
    """A finished study is kept; with --overwrite it is measured again from the same maps."""
    dataset, before = studied.parent / "d64", (studied / "results.json").read_text()
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": dataset, "study": "words", "sampling": SAMPLING}
    with pytest.raises(EvaluationError, match="holds a finished evaluation"):
        evaluate(**arguments, out=studied)
    maps = {path: path.stat().st_mtime_ns for path in studied.rglob("words/*/*.png")}
    assert maps
    evaluate(**arguments, out=studied, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in studied.rglob("words/*/*.png")} == maps
    assert (studied / "results.json").read_text() == before


def test_captions_without_such_words(tmp_path: Path, run_folder: Path) -> None:
    """The message names the words that are measured."""
    dataset = write_dataset(tmp_path / "d64", [row(0, "after a flood")])
    with pytest.raises(EvaluationError, match="one of the words destroyed, major damage, minor damage, damage"):
        evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", study="words", sampling=SAMPLING)


@pytest.mark.parametrize(
    ("chance", "base", "said"),
    [
        (Estimate(5, 1, 9), Estimate(3, 1, 5), "better than by chance and than those of the base"),
        (Estimate(5, -1, 9), Estimate(3, 1, 5), "not certainly better"),
        (Estimate(5, 1, 9), Estimate(3, -1, 5), "not certainly better"),
        (Estimate(5, 1, 9), Estimate(3), "no verdict, the patches are of fewer than 5 scenes"),
    ],
)
def test_verdict(chance: Estimate, base: Estimate, said: str) -> None:
    """Both intervals must lie above 0."""
    one = Row("destroyed", "generated", "both", {}, {}, {"iou": chance}, {"iou": base})
    found = verdict(one, "iou")
    assert found.startswith("destroyed (IoU): ") and said in found and ("certainly" in found) == ("certainly" in said)


@needs_browser
def test_the_report_fits_every_screen(studied: Path, tmp_path: Path) -> None:
    assert_fits_every_screen(studied / "report.html", tmp_path)
