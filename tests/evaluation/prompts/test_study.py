"""The study as a user runs it, with a random network: files, numbers, resuming, errors."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.errors import EvaluationError
from evaluation.estimate import Estimate
from evaluation.output import image_file
from evaluation.prompts.change import difference
from evaluation.prompts.grid import STUDIES
from evaluation.prompts.report import verdict
from evaluation.run import evaluate
from generate.sampling import Sampling
from tests.browser import assert_fits_every_screen, needs_browser
from tests.generate.worlds import patch_row, write_dataset, write_micro_checkpoint

SAMPLING = Sampling(steps=1, seed=5, batch_size=16, samples=2)


def built_up(index: int) -> dict[str, Any]:
    """A patch with nine houses all over it."""
    corners = [(8 + 20 * i, 8 + 20 * j) for i in range(3) for j in range(3)]
    buildings = [
        {
            "uid": f"{x} {y}",
            "damage": 1,
            "wkt": f"POLYGON (({x} {y}, {x + 4} {y}, {x + 4} {y + 4}, {x} {y + 4}, {x} {y}))",
            "counted": True,
        }
        for x, y in corners
    ]
    return patch_row(index, buildings=buildings)


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patches that can be asked, one that cannot."""
    rows = [built_up(0), patch_row(1), built_up(2)]
    return write_dataset(tmp_path_factory.mktemp("houses") / "d64", rows)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, houses: Path) -> Path:
    """A study of both."""
    out = tmp_path_factory.mktemp("study") / "out"
    evaluate(checkpoint=run_folder, dataset=houses, out=out, study="prompts", sampling=SAMPLING)
    return out


def results(out: Path) -> dict[str, Any]:
    """results.json."""
    content: dict[str, Any] = json.loads((out / "results.json").read_text())
    return content


def test_files_and_prompts(studied: Path) -> None:
    """An image per patch, word and seed for both rows; only fitting patches are asked, and only what `short` says."""
    content = results(studied)
    words = (*STUDIES["severity"], *STUDIES["count"])
    assert sorted(path.name for path in studied.iterdir()) == ["images", "report.html", "results.json"]
    assert [prompt["position"] for prompt in content["prompts"]] == [0] * len(words) + [2] * len(words)
    for method in ("generated", "base"):
        assert len(list((studied / "images" / method).glob("*.png"))) == 2 * 2 * len(words)
    assert content["patches"] == 2
    assert set(content["not_measured"]) == {"position", "clustered, scattered", "cloud and haze", "scale"}


def test_an_answer_by_hand(studied: Path) -> None:
    """`changed` against the pre image of the dataset, `beyond` against the image of `none`, from the files."""
    content = results(studied)
    with Image.open(io.BytesIO(built_up(2)["pre"]["bytes"])) as image:
        pre = np.asarray(image.resize((32, 32), Image.Resampling.BOX))
    none, severe = (
        np.asarray(Image.open(studied / image_file(f"{built_up(2)['patch_id']}_{word}", "generated", 1)))
        for word in ("none", "severe")
    )
    (found,) = (
        answer
        for answer in content["answers"]
        if (answer["method"], answer["position"], answer["word"], answer["sample"]) == ("generated", 2, "severe", 1)
    )
    threshold = content["change_detector"]["threshold"]
    assert found["changed"] == pytest.approx((difference(pre, severe) >= threshold).mean())
    assert found["beyond"] == pytest.approx((difference(none, severe) >= threshold).mean())
    assert found["changed"] > 0


def test_copying_scores_chance(studied: Path) -> None:
    """It shows the same whatever is asked."""
    content = results(studied)
    for key, score in content["scores"]["copy"].items():
        assert score["value"] == pytest.approx(content["measures"][key]["chance"])


def test_same_noise_for_all_words(studied: Path) -> None:
    """The seed belongs to patch and sample, not to the word."""
    lines = [json.loads(line) for line in (studied / "images" / "base" / "manifest.jsonl").read_text().splitlines()]
    seeds = {(line["patch_id"].rpartition("_")[0], line["sample"], line["seed"]) for line in lines}
    assert sorted(seed for _, _, seed in seeds) == [5, 7, 1_000_005, 1_000_007]


def test_run_again(studied: Path, run_folder: Path, houses: Path) -> None:
    """A finished study is kept; with --overwrite it is measured again from the same images."""
    before = results(studied)
    made = {path: path.stat().st_mtime_ns for path in studied.glob("images/*/*.png")}
    arguments: dict[str, Any] = {"checkpoint": run_folder, "dataset": houses, "out": studied, "study": "prompts"}
    with pytest.raises(EvaluationError, match="finished evaluation"):
        evaluate(**arguments, sampling=SAMPLING)
    evaluate(**arguments, sampling=SAMPLING, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert results(studied) == before


def test_report_is_self_contained(studied: Path) -> None:
    """Plots and pictures are inside; nothing is loaded."""
    page = (studied / "report.html").read_text()
    assert page.count("<svg") == 3 + 2 * 2  # curves, and a matrix for each of two studies and methods
    assert page.count('src="data:image/') == 2 * 2 * (1 + 4)
    assert "http" not in page


def test_no_patch_to_ask(tmp_path: Path, run_folder: Path, dataset: Path) -> None:
    """Named, before any image is made."""
    with pytest.raises(EvaluationError, match="no patch of split 'test' has six labelled buildings"):
        evaluate(checkpoint=run_folder, dataset=dataset, out=tmp_path / "out", study="prompts", sampling=SAMPLING)
    assert not (tmp_path / "out").exists()


def test_captions_that_say_nothing(tmp_path: Path, micro_base: Path, houses: Path) -> None:
    """A checkpoint of the DiffusionSat sentence cannot be asked for severity, nor any other with that sentence."""
    for trained, named in (("diffusionsat", None), ("short", "diffusionsat")):
        run = write_micro_checkpoint(tmp_path / trained, micro_base, caption_style=trained)
        with pytest.raises(EvaluationError, match="style 'diffusionsat' say nothing"):
            evaluate(
                checkpoint=run,
                dataset=houses,
                out=tmp_path / "out",
                study="prompts",
                caption_style=named,
                sampling=SAMPLING,
            )


def test_verdict_needs_chance_and_base() -> None:
    """Better than a base that does worse than chance is not yet obedience; for angles less is better."""
    beyond = Estimate(10, 5, 15, 4)
    for generated, expected in ((Estimate(60, 55, 65, 4), True), (Estimate(52, 45, 58, 4), False)):
        assert ("followed better" in verdict("order", generated, beyond)) is expected
    assert "followed better" in verdict("angle", Estimate(70, 60, 80, 4), Estimate(-15, -20, -10, 4))
    assert "followed not certainly better" in verdict("angle", Estimate(70, 60, 80, 4), beyond)


@needs_browser
def test_the_report_fits_every_screen(studied: Path, tmp_path: Path) -> None:
    assert_fits_every_screen(studied / "report.html", tmp_path)
